//! Owns which of the listed entries an answer shows: filters and pages. Must not know: the store.

use fancy_regex::{Regex, RegexBuilder};
use serde_json::Value;

use super::answer::Problem;
use super::query::Query;
use crate::keys::Kind;
use crate::schema::Subject;
use crate::store::Revision;

/// Entries on a page: what APISIX allows.
const PAGE_SIZE_MIN: usize = 10;
/// See [`PAGE_SIZE_MIN`].
const PAGE_SIZE_MAX: usize = 500;

/// Steps a filter's regular expression may go back on one value. The pattern comes from outside and is
/// tried on every entry; a pattern that needs more matches nothing.
const BACKTRACK_STEPS_MAX: usize = 10_000;

/// One entry of a listing, printed already: values of 100,000 entries would take many times the memory.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) key: String,
    pub(crate) created: Revision,
    /// As the answer has it.
    pub(crate) text: String,
}

/// What to show of a listing.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    name: Option<Regex>,
    uri: Option<Regex>,
    label: Option<String>,
    fields: Vec<(String, String)>,
    page: Option<Page>,
}

#[derive(Clone, Copy, Debug)]
struct Page {
    number: usize,
    size: usize,
}

impl Selection {
    /// Reads `name`, `uri`, `label`, `filter`, `page` and `page_size`.
    ///
    /// # Errors
    /// A page size out of range, a pattern or a filter that can't be read.
    pub(crate) fn parse(subject: Subject, query: &Query) -> Result<Self, Problem> {
        let mut fields = Vec::new();
        let filterable = matches!(subject, Subject::Item(Kind::Route | Kind::StreamRoute));
        if let Some(filter) = query.get("filter").filter(|_| filterable) {
            for (field, value) in Query::parse(filter).pairs() {
                if !matches!(field, "service_id" | "upstream_id") {
                    return Err(Problem::Refused(format!(
                        "filter by {field:?} is not supported, only by service_id and upstream_id"
                    )));
                }
                fields.push((field.to_owned(), value.to_owned()));
            }
        }
        Ok(Self {
            name: pattern(query, "name")?,
            uri: pattern(query, "uri")?,
            label: query.get("label").map(str::to_owned),
            fields,
            page: page(query)?,
        })
    }

    /// The rows to show, of those that match.
    ///
    /// Without paging they stay in key order; with it they are in order of creation.
    pub(crate) fn page(&self, mut rows: Vec<Row>) -> Vec<Row> {
        let Some(page) = self.page else {
            return rows;
        };
        rows.sort_by(|a, b| (a.created, &a.key).cmp(&(b.created, &b.key)));
        let start = (page.number - 1).saturating_mul(page.size);
        rows.into_iter().skip(start).take(page.size).collect()
    }

    /// Whether an entry is to be shown at all.
    pub(crate) fn matches(&self, value: &Value) -> bool {
        let name = || value["name"].as_str().or(value["username"].as_str());
        let uris = || {
            let list = value["uris"]
                .as_array()
                .map(Vec::as_slice)
                .unwrap_or_default();
            value["uri"]
                .as_str()
                .into_iter()
                .chain(list.iter().filter_map(Value::as_str))
        };
        let found = |pattern: &Regex, text: &str| pattern.is_match(text).unwrap_or(false);
        self.name
            .as_ref()
            .is_none_or(|pattern| name().is_some_and(|name| found(pattern, name)))
            && self
                .uri
                .as_ref()
                .is_none_or(|pattern| uris().any(|uri| found(pattern, uri)))
            && self
                .label
                .as_ref()
                .is_none_or(|label| value["labels"].get(label).is_some())
            && self
                .fields
                .iter()
                .all(|(field, wanted)| value[field.as_str()] == **wanted)
    }
}

fn pattern(query: &Query, name: &str) -> Result<Option<Regex>, Problem> {
    query
        .get(name)
        .map(|text| {
            RegexBuilder::new(text)
                .backtrack_limit(BACKTRACK_STEPS_MAX)
                .build()
                .map_err(|error| Problem::Refused(format!("{name} is not a pattern: {error}")))
        })
        .transpose()
}

/// Pages are shown only if both parameters are there. A page that is not a number of at least 1 is the first.
fn page(query: &Query) -> Result<Option<Page>, Problem> {
    let (Some(number), Some(size)) = (query.get("page"), query.get("page_size")) else {
        return Ok(None);
    };
    let size = size
        .parse()
        .ok()
        .filter(|size| (PAGE_SIZE_MIN..=PAGE_SIZE_MAX).contains(size))
        .ok_or_else(|| {
            Problem::Refused(format!(
                "page_size must be between {PAGE_SIZE_MIN} and {PAGE_SIZE_MAX}"
            ))
        })?;
    let number = number.parse().unwrap_or(1).max(1);
    Ok(Some(Page { number, size }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn routes() -> impl Iterator<Item = (Row, Value)> {
        (0..25).map(|n: u64| {
            let row = Row {
                key: format!("/apisix/routes/{n:02}"),
                created: Revision(100 - n),
                text: String::new(),
            };
            let value = json!({
                "name": format!("route-{n}"),
                "uri": format!("/u/{n}"),
                "labels": {if n.is_multiple_of(2) { "even" } else { "odd" }: "1"},
                "service_id": if n < 3 { json!("s") } else { json!(7) },
                "upstream_id": if n == 1 { "u" } else { "v" },
            });
            (row, value)
        })
    }

    fn shown(query: &str) -> (Vec<String>, usize) {
        let subject = Subject::Item(Kind::Route);
        let selection = Selection::parse(subject, &Query::parse(query)).unwrap();
        let rows: Vec<Row> = routes()
            .filter(|(_, value)| selection.matches(value))
            .map(|(row, _)| row)
            .collect();
        let total = rows.len();
        let rows = selection.page(rows);
        let names = rows.iter().map(|row| row.key[15..].to_owned());
        (names.collect(), total)
    }

    #[test]
    fn pages_are_in_order_of_creation() {
        assert_eq!(shown("").1, 25);
        assert_eq!(shown("").0[0], "00");
        assert_eq!(shown("page=1").0.len(), 25);
        let (first, total) = shown("page=1&page_size=10");
        assert_eq!((first.len(), total), (10, 25));
        assert_eq!(first[0], "24");
        assert_eq!(shown("page=x&page_size=10").0, first);
        assert_eq!(shown("page=0&page_size=10").0, first);
        assert_eq!(shown("page=3&page_size=10").0.len(), 5);
        assert_eq!(shown("page=4&page_size=10"), (vec![], 25));
        assert_eq!(shown("page=18446744073709551615&page_size=500").0.len(), 0);
    }

    #[test]
    fn filters_must_all_hold() {
        assert_eq!(shown("name=ute-1$").0, ["01"]);
        assert_eq!(shown("uri=/1").1, 11);
        assert_eq!(shown("label=even&name=2").0, ["02", "12", "20", "22", "24"]);
        assert_eq!(shown("filter=service_id%3Ds").1, 3);
        assert_eq!(shown("filter=service_id%3D7").1, 0);
        assert_eq!(shown("filter=service_id%3Ds%26upstream_id%3Du").0, ["01"]);
        assert_eq!(shown("label=even&page=1&page_size=10").1, 13);
    }

    #[test]
    fn bad_selections_say_so() {
        let refused = |query: &str| {
            let subject = Subject::Item(Kind::Route);
            Selection::parse(subject, &Query::parse(query))
                .unwrap_err()
                .to_string()
        };
        for size in ["9", "501", "x", ""] {
            assert_eq!(
                refused(&format!("page=1&page_size={size}")),
                "page_size must be between 10 and 500"
            );
        }
        assert!(refused("name=(").starts_with("name is not a pattern: "));
        assert!(refused("filter=uri%3D1").contains("only by service_id and upstream_id"));
    }
}
