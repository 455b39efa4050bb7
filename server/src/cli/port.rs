//! Owns the options of the discovery port: TLS, and who may have what. Must not know: how either is done.

use std::net::SocketAddr;
use std::path::PathBuf;

use bellwether_xds::{ClientAuth, TlsFiles};
use clap::{Args, ValueEnum};

use super::CliError;

/// The options of the discovery port.
#[derive(Clone, Debug, Args)]
pub struct PortArgs {
    /// Where proxies connect
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:18000")]
    pub xds_listen: SocketAddr,
    /// File with our certificate for proxies, as PEM; with it they connect by TLS. All files of the
    /// discovery port are read again when they change
    #[arg(long, value_name = "FILE", requires = "xds_tls_key_file")]
    pub xds_tls_cert_file: Option<PathBuf>,
    /// File with the private key of our certificate for proxies, as PEM
    #[arg(long, value_name = "FILE", requires = "xds_tls_cert_file")]
    pub xds_tls_key_file: Option<PathBuf>,
    /// File with the certificates of who may sign the proxies' certificates, as PEM
    #[arg(long, value_name = "FILE", requires = "xds_tls_cert_file")]
    pub xds_client_ca_file: Option<PathBuf>,
    /// Whether a proxy must have a certificate; required by default when --xds-client-ca-file is given
    #[arg(
        long,
        value_enum,
        value_name = "WHETHER",
        requires = "xds_client_ca_file"
    )]
    pub xds_client_auth: Option<ClientAuthArg>,
    /// TOML or JSON file that says which certificate is of which fleet
    #[arg(long, value_name = "FILE", requires = "xds_client_ca_file")]
    pub xds_identity_file: Option<PathBuf>,
    /// File with bearer tokens of proxies, one a line: TOKEN fleet=NAME [LABEL=VALUE ...]
    #[arg(long, value_name = "FILE")]
    pub xds_token_file: Option<PathBuf>,
    /// Who gets secrets, wherever they stand: certificates with their keys, consumers, settings of
    /// plugins. Proxies count as identified too if --xds-listen is a loopback address and nothing says how to identify them
    #[arg(long, value_enum, value_name = "WHO", default_value = "identified")]
    pub xds_secrets: SecretsArg,
}

/// Whether a node must have a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ClientAuthArg {
    /// It is not asked for one
    None,
    /// It is asked, and may have none
    Optional,
    /// It must have one
    Required,
}

/// Who gets secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SecretsArg {
    /// Proxies with a certificate or a token
    Identified,
    /// Every proxy
    Anyone,
}

impl PortArgs {
    /// The files for TLS, if it was asked for.
    #[must_use]
    pub fn tls(&self) -> Option<TlsFiles> {
        let (cert, key) = self
            .xds_tls_cert_file
            .clone()
            .zip(self.xds_tls_key_file.clone())?;
        Some(TlsFiles {
            cert,
            key,
            clients: self.xds_client_ca_file.clone(),
            auth: match self.xds_client_auth {
                None | Some(ClientAuthArg::Required) => ClientAuth::Required,
                Some(ClientAuthArg::Optional) => ClientAuth::Optional,
                Some(ClientAuthArg::None) => ClientAuth::None,
            },
        })
    }

    /// Whether a node that nothing vouches for gets secrets: one on this machine, or on request.
    #[must_use]
    pub fn secrets_for_anyone(&self) -> bool {
        let names_nobody = self.xds_client_ca_file.is_none()
            && self.xds_identity_file.is_none()
            && self.xds_token_file.is_none();
        self.xds_secrets == SecretsArg::Anyone
            || (names_nobody && self.xds_listen.ip().is_loopback())
    }

    /// What can't be with so many fleets.
    ///
    /// # Errors
    /// Certificates are asked for, and nothing says of which fleet each is; or the other way round.
    pub fn check(&self, fleets: usize) -> Result<(), CliError> {
        let says_fleets = self.xds_identity_file.is_some() || self.xds_token_file.is_some();
        if fleets > 1 && self.xds_client_ca_file.is_some() && !says_fleets {
            return Err(CliError::Usage(
                "with several fleets, --xds-identity-file must say which certificate is of which fleet"
                    .to_owned(),
            ));
        }
        let asks_nobody = self.xds_client_auth == Some(ClientAuthArg::None);
        if asks_nobody && self.xds_identity_file.is_some() {
            return Err(CliError::Usage(
                "--xds-identity-file is about certificates, and --xds-client-auth none asks for none"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        port: PortArgs,
    }

    fn port(args: &[&str]) -> Result<PortArgs, String> {
        let args = std::iter::once("x").chain(args.iter().copied());
        let only = Only::try_parse_from(args).map_err(|error| error.to_string())?;
        Ok(only.port)
    }

    const CERT: [&str; 4] = ["--xds-tls-cert-file", "c", "--xds-tls-key-file", "k"];

    #[test]
    fn certificates_are_required_where_their_authority_is_named() {
        assert!(port(&[]).unwrap().tls().is_none());
        let with = |more: &[&str]| port(&[&CERT[..], more].concat()).unwrap();
        let tls = with(&["--xds-client-ca-file", "a"]).tls().unwrap();
        assert_eq!(tls.auth, ClientAuth::Required);
        let optional = ["--xds-client-ca-file", "a", "--xds-client-auth", "optional"];
        assert_eq!(with(&optional).tls().unwrap().auth, ClientAuth::Optional);
        assert!(with(&optional).check(1).is_ok());
        assert!(with(&optional).check(2).is_err());
        let nobody = with(&[
            "--xds-client-ca-file",
            "a",
            "--xds-client-auth",
            "none",
            "--xds-identity-file",
            "i",
        ]);
        assert!(nobody.check(1).is_err());
    }

    #[test]
    fn half_a_setting_is_refused() {
        for args in [
            &["--xds-tls-cert-file", "c"][..],
            &["--xds-tls-key-file", "k"],
            &["--xds-client-ca-file", "a"],
            &["--xds-identity-file", "i"],
            &["--xds-client-auth", "optional"],
        ] {
            assert!(port(args).is_err(), "{args:?}");
        }
    }

    #[test]
    fn secrets_stay_on_the_machine_by_default() {
        let anyone = |args: &[&str]| port(args).unwrap().secrets_for_anyone();
        assert!(anyone(&[]));
        assert!(anyone(&["--xds-listen", "[::1]:1"]));
        assert!(!anyone(&["--xds-listen", "0.0.0.0:1"]));
        assert!(anyone(&[
            "--xds-listen",
            "0.0.0.0:1",
            "--xds-secrets",
            "anyone"
        ]));
        assert!(!anyone(&["--xds-token-file", "t"]));
        let with_ca = [&CERT[..], &["--xds-client-ca-file", "a"]].concat();
        assert!(!anyone(&with_ca));
    }
}
