//! Owns the printing: short lines, the same on a terminal and in a pipe. Must not know: what is shown.

use std::io::Write as _;

/// Prints a line. If nobody reads any more, there is nobody to tell.
pub(crate) fn line(text: impl std::fmt::Display) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}

/// Prints a line for the error output.
pub(crate) fn error(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Begins a chapter.
pub(crate) fn chapter(number: usize, title: &str) {
    line(format_args!("\n{number}. {title}"));
}

/// A fact: who, and what of it.
pub(crate) fn fact(who: &str, what: impl std::fmt::Display) {
    line(format_args!("   {who:<18} {what}"));
}

/// A command that was run, and what it printed.
pub(crate) fn ran(command: &str, output: &str) {
    line(format_args!("   $ {command}"));
    for text in output.lines() {
        line(format_args!("     {text}"));
    }
}
