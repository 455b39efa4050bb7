//! Owns `traffic-split`. Must not know: how an expression becomes a condition of Envoy's.

use bellwether::wire::native::{Comparison, Expression, Group, comparison, expression, group};
use serde_json::{Map, Value};

use super::chain::{Effect, Fork};
use super::config::{Options, Read};
use super::{Action, Context, Share};

/// The name of the plugin.
pub(super) const NAME: &str = "traffic-split";

/// Rules that are tried in order, and upstreams of one rule, as in APISIX's schema.
const MAX_UPSTREAMS: usize = 20;

/// Divides requests over upstreams.
pub(super) fn traffic_split(options: &mut Options, context: &Context<'_>) -> Read<Vec<Effect>> {
    let mut forks = Vec::new();
    for rule in options.list("rules")?.unwrap_or_default() {
        let Value::Object(rule) = rule else {
            return Err("option rules holds what is not an object".to_owned());
        };
        forks.push(fork(Options::of(&rule), context)?);
    }
    Ok(vec![Effect::Forks(forks)])
}

fn fork(mut rule: Options, context: &Context<'_>) -> Read<Fork> {
    let condition = match rule.list("match")? {
        None => None,
        Some(matches) => any_of(&matches)?,
    };
    let upstreams = rule.list("weighted_upstreams")?;
    rule.finish()?;
    let Some(upstreams) = upstreams else {
        // The route's own.
        return Ok(Fork {
            condition,
            ..Default::default()
        });
    };
    if upstreams.is_empty() || upstreams.len() > MAX_UPSTREAMS {
        return Err(format!(
            "option weighted_upstreams has not 1 to {MAX_UPSTREAMS} elements"
        ));
    }
    let shares: Vec<Share> = upstreams
        .iter()
        .map(|upstream| share(upstream, context))
        .collect::<Read<_>>()?;
    let total: u64 = shares.iter().map(|share| u64::from(share.weight)).sum();
    if total == 0 || total > u64::from(u32::MAX) {
        return Err("option weighted_upstreams: the sum of the weights is out of range".to_owned());
    }
    let is_own = shares.iter().all(|share| share.cluster.is_none());
    Ok(Fork {
        condition,
        action: if is_own {
            Action::Keep
        } else {
            Action::Split(shares)
        },
        ..Default::default()
    })
}

fn share(upstream: &Value, context: &Context<'_>) -> Read<Share> {
    let Value::Object(upstream) = upstream else {
        return Err("option weighted_upstreams holds what is not an object".to_owned());
    };
    let mut options = Options::of(upstream);
    options.refuse("upstream", "an upstream must have an id of its own")?;
    let weight = options.integer("weight")?.unwrap_or(1);
    let weight = u32::try_from(weight).map_err(|_| "option weight is out of range".to_owned())?;
    let id = options.take("upstream_id").map(|id| match id {
        Value::String(id) => Ok(id),
        Value::Number(id) => Ok(id.to_string()),
        _ => Err("option upstream_id is not an id".to_owned()),
    });
    options.finish()?;
    let cluster = id.transpose()?.map(|id| format!("upstreams/{id}"));
    match cluster {
        Some(cluster) if !(context.has_cluster)(&cluster) => {
            Err(format!("option upstream_id: {cluster} can't be used"))
        }
        cluster => Ok(Share { cluster, weight }),
    }
}

/// Any of the elements of `match`, all of whose `vars` are true. `None`: always.
fn any_of(matches: &[Value]) -> Read<Option<Expression>> {
    let mut any = Vec::new();
    for one in matches {
        let vars = one.as_object().and_then(only_vars);
        let Some(vars) = vars else {
            return Err("option match: it holds what is not a list of vars".to_owned());
        };
        let all = vars.iter().map(comparison).collect::<Read<Vec<_>>>()?;
        if all.is_empty() {
            return Ok(None);
        }
        any.push(grouped(group::Operator::And, all));
    }
    Ok(match any.is_empty() {
        true => None,
        false => Some(grouped(group::Operator::Or, any)),
    })
}

fn only_vars(one: &Map<String, Value>) -> Option<&Vec<Value>> {
    let vars = one.get("vars")?.as_array()?;
    (one.len() == 1).then_some(vars)
}

fn grouped(operator: group::Operator, mut of: Vec<Expression>) -> Expression {
    if of.len() == 1 {
        return of.remove(0);
    }
    Expression {
        kind: Some(expression::Kind::Group(Group {
            operator: operator.into(),
            of,
        })),
    }
}

/// `[variable, operator, value]`, or with `"!"` before the operator. Nested groups are left to routes.
fn comparison(leaf: &Value) -> Read<Expression> {
    let odd = || format!("option match.vars: {leaf} is not a comparison");
    let parts = leaf.as_array().ok_or_else(odd)?;
    let (variable, negate, operator, value) = match parts.as_slice() {
        [variable, operator, value] => (variable, false, operator, value),
        [variable, Value::String(not), operator, value] if not == "!" => {
            (variable, true, operator, value)
        }
        _ => return Err(odd()),
    };
    let variable = variable.as_str().ok_or_else(odd)?;
    let operator = match operator.as_str().ok_or_else(odd)? {
        "==" => comparison::Operator::Equal,
        "~=" => comparison::Operator::NotEqual,
        ">" => comparison::Operator::Greater,
        ">=" => comparison::Operator::GreaterOrEqual,
        "<" => comparison::Operator::Less,
        "<=" => comparison::Operator::LessOrEqual,
        "~~" => comparison::Operator::Matches,
        "~*" => comparison::Operator::MatchesCaseless,
        "in" | "IN" => comparison::Operator::In,
        "has" | "HAS" => comparison::Operator::Has,
        "ipmatch" | "IPMATCH" => comparison::Operator::IpMatch,
        _ => return Err(odd()),
    };
    Ok(Expression {
        kind: Some(expression::Kind::Comparison(Comparison {
            variable: variable.to_owned(),
            operator: operator.into(),
            negate,
            value: Some(protobuf(value)),
        })),
    })
}

/// The value as `google.protobuf.Value`.
fn protobuf(value: &Value) -> bellwether::wire::google::protobuf::Value {
    use bellwether::wire::google::protobuf::{ListValue, Struct, Value as Proto, value::Kind};
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(flag) => Kind::BoolValue(*flag),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or(f64::NAN)),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(list) => Kind::ListValue(ListValue {
            values: list.iter().map(protobuf).collect(),
        }),
        Value::Object(map) => Kind::StructValue(Struct {
            fields: map
                .iter()
                .map(|(name, value)| (name.clone(), protobuf(value)))
                .collect(),
        }),
    };
    Proto { kind: Some(kind) }
}
