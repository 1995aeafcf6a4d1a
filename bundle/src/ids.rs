//! Names and ids. Each is parsed once, at the border; whoever holds one may
//! trust its form.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

uuid_id!(
    /// A tenant. Every look-up of a route, key or secret is made inside one.
    TenantId
);
uuid_id!(
    /// A route, as the public API names it.
    RouteId
);
uuid_id!(
    /// A client: who calls, and from where.
    ClientId
);
uuid_id!(
    /// A secret; survives its renaming.
    SecretId
);

/// Why a text is not the name it should be.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{what} must be {rule}")]
pub struct InvalidName {
    pub what: &'static str,
    pub rule: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The shared text, for records that outlive the bundle.
            pub fn shared(&self) -> Arc<str> {
                self.0.clone()
            }
        }

        impl TryFrom<&str> for $name {
            type Error = InvalidName;

            fn try_from(text: &str) -> Result<Self, InvalidName> {
                let valid: fn(&str) -> bool = $check;
                if valid(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidName { what: $what, rule: $rule })
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// The tenant's label in host names; kept in lower case.
    TenantSlug,
    "a tenant slug",
    "1 to 63 of a-z, 0-9 and -, not beginning or ending with -",
    is_label
);
name!(
    /// The stable handle of a route.
    RouteSlug,
    "a route slug",
    "1 to 63 of a-z, 0-9 and -",
    |text| is_made_of(text, 63, |b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
);
name!(
    /// What people call a route; compared with its case.
    RouteName,
    "a route name",
    "1 to 128 printable characters without leading or trailing space",
    is_display_name
);
name!(
    EnvironmentName,
    "an environment name",
    "1 to 63 of a-z, 0-9, - and _",
    |text| is_made_of(text, 63, |b| {
        b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_'
    })
);
name!(
    /// A secret's name as placeholders write it; case-sensitive.
    SecretName,
    "a secret name",
    "1 to 128 of A-Z, a-z, 0-9, -, _ and .",
    is_placeholder_name
);
name!(
    /// The `KEY` of `{{var:KEY}}`; case-sensitive.
    VariableKey,
    "a variable name",
    "1 to 128 of A-Z, a-z, 0-9, -, _ and .",
    is_placeholder_name
);
name!(
    ClientName,
    "a client name",
    "1 to 128 printable characters without leading or trailing space",
    is_display_name
);
name!(
    /// The public part of an API key, safe to log: `tk_live_ab12cd34`.
    KeyId,
    "an API key id",
    "4 to 64 of A-Z, a-z, 0-9 and _",
    |text| text.len() >= 4
        && is_made_of(text, 64, |b| b.is_ascii_alphanumeric() || b == b'_')
);
name!(
    /// A DNS name without port or trailing dot, in lower case.
    HostName,
    "a host name",
    "a DNS name in lower case, without port: labels of a-z, 0-9 and -, joined by dots",
    |text| text.len() <= 253 && text.split('.').all(is_label)
);
name!(
    /// The eight hexadecimal digits of a rolling URL.
    SubdomainHash,
    "a subdomain hash",
    "8 hexadecimal digits in lower case",
    |text| text.len() == 8 && is_made_of(text, 8, |b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
);

fn is_made_of(text: &str, longest: usize, allowed: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && text.len() <= longest && text.bytes().all(allowed)
}

fn is_label(text: &str) -> bool {
    is_made_of(text, 63, |b| {
        b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'
    }) && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_placeholder_name(text: &str) -> bool {
    is_made_of(text, 128, |b| {
        b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')
    })
}

fn is_display_name(text: &str) -> bool {
    !text.is_empty()
        && text.chars().count() <= 128
        && text.trim() == text
        && !text.chars().any(char::is_control)
}
