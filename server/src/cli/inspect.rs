//! Owns the command line of `inspect`: what to look at and how to print it. Must not know: how a store is
//! opened, or what is looked for.

use clap::Args;

use super::{OutputArgs, StoreArgs};
use crate::keys::Prefix;

/// The options of `inspect`.
#[derive(Clone, Debug, Args)]
pub struct InspectArgs {
    /// Where to look.
    #[command(flatten)]
    pub store: StoreArgs,
    /// The prefix of the configuration
    #[arg(long, value_name = "PREFIX", default_value = "/apisix", value_parser = Prefix::new)]
    pub prefix: Prefix,
    /// How many proxies read it, for the estimate of the load
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub proxies: u64,
    /// How many workers a proxy has
    #[arg(long, value_name = "COUNT", default_value_t = 4)]
    pub workers: u64,
    /// How to print.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Reads the prefix and prints what is there. TEMPORARY until the printing lands.
///
/// # Errors
/// The store can't be read.
pub async fn run(
    _: &InspectArgs,
    _: std::sync::Arc<dyn crate::store::Store>,
    _: &mut super::Io<'_>,
) -> Result<super::Exit, super::CliError> {
    Ok(super::Exit::Failed)
}
