//! One program of all benchmarks: fat LTO links it once. `cargo bench -p
//! knoxcall-benches -- leak_guard` runs those whose name has that in it.

mod admit;
mod caller;
mod cidr;
mod client_address;
mod compile;
mod decision;
mod environment;
mod hygiene;
mod inject;
mod ip_allowlist;
mod json_merge;
mod leak_guard;
mod method;
mod nonce;
mod path;
mod placeholders;
mod plan;
mod rate_limit;
mod record;
mod response_rules;
mod route;
mod signature;
mod tenant;
mod upstream_headers;

use criterion::criterion_main;

criterion_main!(
    admit::benches,
    caller::benches,
    cidr::benches,
    client_address::benches,
    compile::benches,
    decision::benches,
    environment::benches,
    hygiene::benches,
    inject::benches,
    ip_allowlist::benches,
    json_merge::benches,
    leak_guard::benches,
    method::benches,
    nonce::benches,
    path::benches,
    placeholders::benches,
    plan::benches,
    rate_limit::benches,
    record::benches,
    response_rules::benches,
    route::benches,
    signature::benches,
    tenant::benches,
    upstream_headers::benches,
);
