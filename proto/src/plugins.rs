//! Owns the list of plugins that the agent runs. The server warns about routes that need others, and
//! the agent answers those with 503. Must not know: what a plugin does.

/// Sorted. A name stands here only once the agent runs it.
pub const RUN_BY_AGENT: &[&str] = &["prometheus"];

/// Whether the agent runs a plugin.
#[must_use]
pub fn is_run_by_agent(name: &str) -> bool {
    RUN_BY_AGENT.binary_search(&name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted() {
        assert!(RUN_BY_AGENT.is_sorted());
    }
}
