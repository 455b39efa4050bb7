//! Owns how rollouts look to people. Must not know: where they come from.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;

use super::super::output::clean;
use super::super::{CliError, Io};

/// A field as text; nothing if it is not there.
pub(super) fn text(one: &Value, field: &str) -> String {
    match &one[field] {
        Value::Null => String::new(),
        Value::String(text) => clean(text),
        other => clean(&other.to_string()),
    }
}

fn name(one: &Value) -> &str {
    one["name"].as_str().unwrap_or("nothing")
}

fn list(one: &Value) -> impl Iterator<Item = &Value> {
    one.as_array().into_iter().flatten()
}

/// Where it is, in a line.
pub(super) fn summary(status: &Value) -> String {
    let rollout = &status["rollout"];
    if rollout.is_null() {
        let stable = name(&status["stable"]);
        return format!("{stable} is stable, nothing is under way");
    }
    let exposed = &rollout["nodes"]["exposed"];
    let number = |field: &str| exposed[field].as_u64().unwrap_or_default();
    let stages = list(&rollout["stages"]).count();
    let at = rollout["stage"].as_u64().unwrap_or_default();
    let stage = list(&rollout["stages"]).nth(usize::try_from(at).unwrap_or_default());
    let mut line = format!(
        "rollout {} of {} is {}",
        rollout["id"],
        name(&rollout["target"]),
        text(rollout, "phase")
    );
    let phase = rollout["phase"].as_str().unwrap_or_default();
    match phase {
        "exposing" | "baking" | "paused" | "soaking" | "halted" => {
            let stage = stage.map_or("", name);
            line += &format!(
                ", stage {stage} ({} of {stages}): {} exposed, {} stable, {} rejected, {} failed, {} missing",
                at + 1,
                number("connected"),
                number("stable"),
                number("rejected"),
                number("failed"),
                number("missing"),
            );
        }
        "rolling back" => line += &format!(" to {}", name(&rollout["base"])),
        _ => {}
    }
    let waits: Vec<&str> = list(&status["waits_for"])
        .filter_map(Value::as_str)
        .collect();
    if !waits.is_empty() {
        line += &format!("; waits for {}", waits.join(", "));
    }
    clean(&line)
}

/// What is new if it is not as before: without what only counts seconds.
pub(super) fn key(status: &Value) -> Value {
    let rollout = &status["rollout"];
    serde_json::json!([
        rollout["id"],
        rollout["phase"],
        rollout["stage"],
        rollout["exposure"],
        rollout["phase_reason"],
        rollout["nodes"]["exposed"],
        rollout["nodes"]["base"],
        rollout["gates"],
        status["hold"],
        status["trouble"],
        status["stable"],
        status["leader"]["server"],
    ])
}

/// Everything.
pub(super) fn status(status: &Value, io: &mut Io<'_>) -> Result<(), CliError> {
    let fleet = text(status, "fleet");
    let stable = name(&status["stable"]);
    let good: Vec<&str> = list(&status["last_good"]).map(name).collect();
    let good = match good.is_empty() {
        true => String::new(),
        false => format!(" (before: {})", good.join(", ")),
    };
    io.line(format_args!("fleet {fleet}: {stable} is stable{good}"))?;
    match status["rollout"].is_null() {
        true => io.line("no rollout is under way")?,
        false => rollout(status, io)?,
    }
    for wait in list(&status["waits_for"]).filter_map(Value::as_str) {
        io.line(format_args!("waits for: {}", clean(wait)))?;
    }
    overrides(status, io)?;
    let servers = list(&status["servers"]).count();
    match status["leader"]["server"].as_str() {
        Some(leader) => io.line(format_args!("{leader} leads, of {servers} servers")),
        None => io.line("no server leads: nothing goes forward"),
    }
}

fn rollout(status: &Value, io: &mut Io<'_>) -> Result<(), CliError> {
    let rollout = &status["rollout"];
    let since = |field: &str| rollout[field].as_u64().unwrap_or_default();
    let age = status["time"].as_u64().unwrap_or_default();
    let age = Duration::from_secs(age.saturating_sub(since("since")) / 1_000);
    io.line(format_args!(
        "rollout {}: {} over {}, by {}: {}",
        rollout["id"],
        name(&rollout["target"]),
        name(&rollout["base"]),
        text(rollout, "author"),
        text(rollout, "reason"),
    ))?;
    let why = text(rollout, "phase_reason");
    let colon = if why.is_empty() { "" } else { ": " };
    io.line(format_args!(
        "{} for {}, policy {}{colon}{why}",
        text(rollout, "phase"),
        humantime::format_duration(age),
        text(rollout, "policy"),
    ))?;
    let rows = list(&rollout["stages"]).map(|stage| {
        let mark = match stage["place"].as_str() {
            Some("done") => "✓",
            Some("now") => "→",
            _ => "",
        };
        vec![
            mark.to_owned(),
            name(stage).to_owned(),
            format!("{}%", stage["percent"]),
            text(stage, "min_nodes"),
            text(stage, "select"),
            seconds(&stage["bake_s"]),
        ]
    });
    let header = ["", "stage", "part", "at least", "of", "watched"];
    io.table(&header, rows.collect())?;
    nodes(rollout, io)?;
    let gates = list(&rollout["gates"]).map(|gate| {
        let fields = ["name", "verdict", "reason"];
        fields.map(|field| text(gate, field)).to_vec()
    });
    let gates: Vec<_> = gates.collect();
    if !gates.is_empty() {
        io.table(&["gate", "verdict", "why"], gates)?;
    }
    Ok(())
}

const COUNTS: [&str; 7] = [
    "assigned",
    "connected",
    "stable",
    "rejected",
    "unable",
    "failed",
    "missing",
];

fn nodes(rollout: &Value, io: &mut Io<'_>) -> Result<(), CliError> {
    let nodes = &rollout["nodes"];
    let row = |who: &str, counts: &Value| {
        let numbers = COUNTS.iter().map(|field| text(counts, field));
        std::iter::once(who.to_owned()).chain(numbers).collect()
    };
    let mut rows = vec![
        row("exposed", &nodes["exposed"]),
        row("others", &nodes["control"]),
    ];
    let domains: Vec<&Value> = list(&rollout["domains"]).collect();
    if domains.len() > 1 {
        for one in domains {
            let who = format!("exposed in {:?}", text(one, "domain"));
            rows.push(row(&who, &one["exposed"]));
        }
    }
    let header: Vec<&str> = std::iter::once("nodes").chain(COUNTS).collect();
    io.table(&header, rows)
}

fn overrides(status: &Value, io: &mut Io<'_>) -> Result<(), CliError> {
    if let Some(queued) = status["queued"].as_object() {
        let queued = Value::Object(queued.clone());
        io.line(format_args!("next: {}", name(&queued["target"])))?;
    }
    let hold = &status["hold"];
    if hold.is_object() {
        let until = match hold["until"].as_u64() {
            Some(until) => format!(" until {}", time(until)),
            None => String::new(),
        };
        io.line(format_args!(
            "frozen{until} by {}: {}",
            text(hold, "author"),
            text(hold, "reason")
        ))?;
    }
    for hold in list(&status["planned"]) {
        let at = |field: &str| {
            hold[field]
                .as_u64()
                .map_or("further notice".to_owned(), time)
        };
        io.line(format_args!(
            "will be frozen from {} until {} by {}: {}",
            at("from"),
            at("until"),
            text(hold, "author"),
            text(hold, "reason")
        ))?;
    }
    let pins: Vec<&Value> = list(&status["pins"]).collect();
    if !pins.is_empty() {
        print_pins(&pins, io)?;
    }
    for digest in list(&status["quarantined"]).filter_map(Value::as_str) {
        io.line(format_args!("quarantined: {digest}"))?;
    }
    if let Some(trouble) = status["trouble"].as_str() {
        io.line(format_args!("trouble: {}", clean(trouble)))?;
    }
    Ok(())
}

/// Pins, each with its nodes.
pub(in super::super) fn print_pins(pins: &[&Value], io: &mut Io<'_>) -> Result<(), CliError> {
    let rows = pins.iter().map(|pin| {
        vec![
            text(pin, "select"),
            name(&pin["release"]).to_owned(),
            text(pin, "author"),
            text(pin, "reason"),
            pin["until"].as_u64().map_or(String::new(), time),
        ]
    });
    let header = ["pinned", "release", "author", "reason", "until"];
    io.table(&header, rows.collect())
}

/// Whom each stage takes, as of now.
pub(super) fn plan(plan: &Value, io: &mut Io<'_>) -> Result<(), CliError> {
    let stages: Vec<&Value> = list(&plan["stages"]).collect();
    let of = match plan["nodes"].as_u64() {
        Some(nodes) => format!("of {nodes} nodes as of now"),
        None => "of nodes that nobody has counted yet".to_owned(),
    };
    io.line(format_args!(
        "policy {}: {} stages, {of}",
        text(plan, "policy"),
        stages.len()
    ))?;
    let rows = stages.iter().map(|stage| {
        let unknown = |field: &str| match stage[field].as_u64() {
            Some(number) => number.to_string(),
            None => "?".to_owned(),
        };
        vec![
            name(stage).to_owned(),
            format!("{}%", stage["percent"]),
            unknown("nodes"),
            text(stage, "select"),
            match stage["pace"].as_u64() {
                Some(0) | None => "at once".to_owned(),
                Some(pace) => format!("{pace}/s"),
            },
            seconds(&stage["bake_s"]),
            unknown("exposed_at_halt"),
        ]
    });
    let header = [
        "stage",
        "part",
        "nodes",
        "of",
        "pace",
        "watched",
        "exposed at halt",
    ];
    io.table(&header, rows.collect())?;
    io.line(format_args!(
        "watched on all nodes: {}; approvals needed: {}",
        seconds(&plan["soak_s"]),
        plan["approvals"]
    ))
}

/// What happened.
pub(super) fn history(body: &Value, io: &mut Io<'_>) -> Result<(), CliError> {
    let rows = list(&body["list"]).flat_map(|record| {
        list(&record["text"]).map(|line| {
            vec![
                record["time"].as_u64().map_or(String::new(), time),
                text(record, "rollout"),
                text(record, "who"),
                clean(line.as_str().unwrap_or_default()),
            ]
        })
    });
    io.table(&["time", "rollout", "who", "what"], rows.collect())
}

fn seconds(value: &Value) -> String {
    let duration = Duration::from_secs(value.as_u64().unwrap_or_default());
    humantime::format_duration(duration).to_string()
}

/// Unix time in milliseconds, in whole seconds.
fn time(ms: u64) -> String {
    // What a server says may be anything; far enough in the future it is no date.
    let seconds = (ms / 1_000).min(253_402_300_799);
    let at = UNIX_EPOCH + Duration::from_secs(seconds);
    humantime::format_rfc3339_seconds(at).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_of_all_kinds_can_be_shown() {
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(time(u64::MAX), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn a_line_says_where_it_is() {
        let status = json!({
            "rollout": {
                "id": 3,
                "target": { "name": "shop@4" },
                "phase": "baking",
                "stage": 0,
                "stages": [{ "name": "first" }, { "name": "all" }],
                "nodes": { "exposed": { "connected": 5, "stable": 5 } },
            },
            "waits_for": ["gate latency has not answered yet"],
        });
        assert_eq!(
            summary(&status),
            "rollout 3 of shop@4 is baking, stage first (1 of 2): 5 exposed, 5 stable, 0 rejected, 0 failed, 0 missing; waits for gate latency has not answered yet"
        );
        let over = json!({ "stable": { "name": "shop@4" }, "rollout": null });
        assert_eq!(summary(&over), "shop@4 is stable, nothing is under way");
    }
}
