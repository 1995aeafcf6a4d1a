//! How a route reaches its upstreams in one environment.

use std::time::Duration;

use crate::document::ProtocolName;
use crate::ids::{EnvironmentName, HostName};
use crate::model::{ClientCertificate, Timeouts, Upstream, UpstreamProtocol};
use crate::problem::Problems;

use super::Sources;
use super::context::{Names, named};
use super::pool::pool;
use super::settings_merge::Merged;
use super::upstream_certificate::ClientCertificates;

pub(super) const DEFAULT_CONNECT_TIMEOUT_MS: u64 = 5_000;
pub(super) const DEFAULT_READ_TIMEOUT_MS: u64 = 30_000;
pub(super) const DEFAULT_WRITE_TIMEOUT_MS: u64 = 30_000;
pub(super) const DEFAULT_IDLE_TIMEOUT_MS: u64 = 60_000;
pub(super) const DEFAULT_PROTOCOL: ProtocolName = ProtocolName::Http1;

/// What upstreams are checked against.
pub(super) struct Upstreams<'a> {
    pub(super) names: &'a Names<'a>,
    pub(super) environment: &'a EnvironmentName,
}

impl Upstreams<'_> {
    pub(super) fn read(
        &self,
        merged: &Merged<'_>,
        sources: &mut dyn Sources,
        problems: &mut Problems,
    ) -> Upstream {
        let ca = merged.pick(|settings| &settings.custom_ca_file);
        let custom_ca = ca.and_then(|file| match sources.certificates(file.value) {
            Ok(pem) => Some(pem),
            Err(unavailable) => {
                let at = file.at.key("custom_ca_file");
                problems.add(&at, unavailable.message, unavailable.remedy);
                None
            }
        });
        let name = merged.pick(|settings| &settings.server_name);
        let server_name = name.and_then(|name| {
            let text = name.value.to_ascii_lowercase();
            named::<HostName>(&text, &name.at.key("server_name"), problems)
        });
        let protocol = merged.value(|settings| &settings.protocol);
        Upstream {
            custom_ca,
            server_name,
            client_certificate: self.client_certificate(merged, sources, problems),
            allow_reserved_target: merged.flag(|settings| &settings.allow_reserved_target),
            protocol: match protocol.unwrap_or(DEFAULT_PROTOCOL) {
                ProtocolName::Http1 => UpstreamProtocol::Http1,
                ProtocolName::Http2 => UpstreamProtocol::Http2,
                ProtocolName::Auto => UpstreamProtocol::Auto,
            },
            timeouts: timeouts(merged),
            pool: pool(merged, problems),
        }
    }

    fn client_certificate(
        &self,
        merged: &Merged<'_>,
        sources: &mut dyn Sources,
        problems: &mut Problems,
    ) -> Option<ClientCertificate> {
        let given = merged.pick(|settings| &settings.client_certificate)?;
        let at = given.at.key("client_certificate");
        let certificates = ClientCertificates {
            names: self.names,
            environment: self.environment,
        };
        certificates.read(given.value, &at, sources, problems)
    }
}

fn timeouts(merged: &Merged<'_>) -> Timeouts {
    let ms = |given: Option<u64>, default| Duration::from_millis(given.unwrap_or(default));
    let read = ms(
        merged.value(|settings| &settings.read_timeout_ms),
        DEFAULT_READ_TIMEOUT_MS,
    );
    let first_byte = merged.value(|settings| &settings.first_byte_timeout_ms);
    let total = merged.value(|settings| &settings.total_timeout_ms);
    Timeouts {
        connect: ms(
            merged.value(|settings| &settings.connect_timeout_ms),
            DEFAULT_CONNECT_TIMEOUT_MS,
        ),
        first_byte: first_byte.map_or(read, Duration::from_millis),
        read,
        write: ms(
            merged.value(|settings| &settings.write_timeout_ms),
            DEFAULT_WRITE_TIMEOUT_MS,
        ),
        idle: ms(
            merged.value(|settings| &settings.idle_timeout_ms),
            DEFAULT_IDLE_TIMEOUT_MS,
        ),
        total: total.map(Duration::from_millis),
    }
}
