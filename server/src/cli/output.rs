//! Owns how commands print: tables for people, JSON for programs. Must not know: what is printed.

use std::fmt;
use std::io::{Read, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::CliError;

/// Where a command reads and writes.
pub struct Io<'a> {
    /// Standard input, for `-f -`.
    pub input: &'a mut (dyn Read + Send),
    /// Standard output.
    pub out: &'a mut (dyn Write + Send),
    /// Standard error.
    pub err: &'a mut (dyn Write + Send),
    /// Whether the output goes to a terminal.
    pub terminal: bool,
}

impl fmt::Debug for Io<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io")
            .field("terminal", &self.terminal)
            .finish_non_exhaustive()
    }
}

impl Io<'_> {
    /// A line.
    pub(crate) fn line(&mut self, text: impl fmt::Display) -> Result<(), CliError> {
        Ok(writeln!(self.out, "{text}")?)
    }

    /// JSON, indented.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(value)
            .expect("what commands print has string keys and no failing parts");
        self.line(text)
    }

    /// A table: with lines and as wide as the terminal, or plain columns in a pipe.
    pub(crate) fn table(
        &mut self,
        header: &[&str],
        rows: Vec<Vec<String>>,
    ) -> Result<(), CliError> {
        let mut table = Table::new();
        if self.terminal {
            table.load_style(presets::UTF8_FULL_CONDENSED);
            table.set_content_arrangement(ContentArrangement::Dynamic);
        } else {
            table.load_style(presets::NOTHING);
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
        table.set_header(
            header
                .iter()
                .map(|name| name.to_uppercase())
                .collect::<Vec<_>>(),
        );
        for row in rows {
            table.add_row(row.iter().map(|cell| clean(cell)).collect::<Vec<_>>());
        }
        let lines: Vec<String> = table
            .lines()
            .map(|line| line.trim_end().to_owned())
            .collect();
        self.line(lines.join("\n"))
    }
}

/// Text from outside, without what could steer a terminal.
pub(crate) fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(terminal: bool) -> String {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut io = Io {
            input: &mut std::io::empty(),
            out: &mut out,
            err: &mut err,
            terminal,
        };
        let rows = vec![vec!["1".to_owned(), "a\u{1b}[2J".to_owned()]];
        io.table(&["id", "name"], rows).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_pipe_gets_plain_columns() {
        assert_eq!(printed(false), " ID  NAME\n 1   a [2J\n");
        assert!(printed(true).contains('│'));
    }
}
