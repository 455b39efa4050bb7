//! Owns conditions over request variables (`docs/apisix.md` §2.5) as alternatives that Envoy can ask for.
//! Must not know: routes.

use bellwether::wire::native::group::Operator as Join;
use bellwether::wire::native::{Expression, expression};

use crate::route::clause::Known;
use crate::route::subject::{Facts, Subject};
use crate::route::test::Test;

/// Groups in groups. What is deeper was not made by people.
const DEEPEST: usize = 100;

/// What is known of a condition.
pub(crate) fn known(expression: &Expression, facts: &Facts<'_>) -> Known {
    of(expression, true, facts, 0)
}

/// `holds` is false where the contrary is asked for.
fn of(expression: &Expression, holds: bool, facts: &Facts<'_>, depth: usize) -> Known {
    if depth > DEEPEST {
        return Known::nothing(format!("its condition is more than {DEEPEST} levels deep"));
    }
    match &expression.kind {
        None => Known::nothing("its condition has a part that is not known here"),
        Some(expression::Kind::Comparison(comparison)) => match Test::read(comparison) {
            Err(reason) => Known::nothing(reason),
            Ok(test) => {
                let test = if holds { test } else { test.not() };
                Subject::of(&comparison.variable, facts).ask(
                    &comparison.variable,
                    &test,
                    facts.client,
                )
            }
        },
        Some(expression::Kind::Group(group)) => {
            let Ok(join) = Join::try_from(group.operator) else {
                return Known::nothing("its condition has an operator that is not known here");
            };
            let inner = |holds| {
                group
                    .of
                    .iter()
                    .map(move |inner| of(inner, holds, facts, depth + 1))
            };
            // De Morgan: the contrary of all is one of the contraries.
            match (join, holds) {
                (Join::And, true) | (Join::NotAnd, false) => all(inner(true)),
                (Join::Or, true) | (Join::NotOr, false) => any(inner(true)),
                (Join::And, false) | (Join::NotAnd, true) => any(inner(false)),
                (Join::Or, false) | (Join::NotOr, true) => all(inner(false)),
            }
        }
    }
}

fn all(known: impl Iterator<Item = Known>) -> Known {
    known.fold(Known::always(), |all, one| all.and(&one))
}

fn any(known: impl Iterator<Item = Known>) -> Known {
    known.fold(Known::never(), Known::or)
}
