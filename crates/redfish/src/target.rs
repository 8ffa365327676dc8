//! Which BMC, and with which account.

use std::fmt;

use secrecy::SecretString;
use url::Url;

use crate::tls::TlsPolicy;

/// How to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum AuthType {
    /// The password with every request.
    Basic,
    /// One login, then a token.
    Session,
    /// A session where the BMC offers them, else the password with every request.
    #[default]
    Auto,
}

/// Scheme, host and port of a BMC, and where its service begins.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    base: Url,
    root: String,
}

impl Address {
    /// `host`, `host:port`, `[v6]:port`, a bare IPv6 address, or a URL; `https` is assumed. A path, when there is one, is where
    /// the service begins; else that is `/redfish/v1/`.
    ///
    /// # Errors
    /// In words, what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let full = if text.contains("://") {
            text.to_owned()
        } else if text.parse::<std::net::Ipv6Addr>().is_ok() {
            format!("https://[{text}]")
        } else {
            format!("https://{text}")
        };
        let url = Url::parse(&full).map_err(|e| e.to_string())?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("{} is neither http nor https", url.scheme()));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err("it has no host".into());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("user name and password have members of their own".into());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("it has a query or a fragment".into());
        }
        let mut root = url.path().to_owned();
        if root == "/" {
            root = "/redfish/v1/".to_owned();
        }
        if !root.ends_with('/') {
            root.push('/');
        }
        let mut base = url;
        base.set_path("/");
        Ok(Self { base, root })
    }

    /// Where the service begins, with a slash at both ends.
    #[must_use]
    pub fn root(&self) -> &str {
        &self.root
    }

    #[must_use]
    pub fn is_https(&self) -> bool {
        self.base.scheme() == "https"
    }

    /// URL of a path that [`Address::local`] has made.
    pub(crate) fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        let (path, query) = match path.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path, None),
        };
        // not joined: a path with two slashes at its beginning would be another host
        url.set_path(path);
        url.set_query(query);
        url
    }

    /// The path of a link that the BMC gave. Links to other hosts are refused, since the account's password would go there.
    ///
    /// # Errors
    /// In words, why not.
    pub fn local(&self, link: &str) -> Result<String, String> {
        let link = link.trim();
        let shown: String = link.chars().take(80).filter(|c| !c.is_control()).collect();
        if link.len() > 2048 {
            return Err(format!("the link {shown}… is too long"));
        }
        if link
            .chars()
            .any(|c| c.is_control() || c.is_whitespace() || c == '\\')
        {
            return Err(format!("the link {shown} has characters that no path has"));
        }
        let path = if link.starts_with("http://") || link.starts_with("https://") {
            let url = Url::parse(link).map_err(|e| format!("the link {shown} is no URL: {e}"))?;
            // Behind a proxy boards name themselves with the wrong scheme; what counts is that it is the same host.
            if url.host_str() != self.base.host_str()
                || (url.scheme() == self.base.scheme()
                    && url.port_or_known_default() != self.base.port_or_known_default())
            {
                return Err(format!("the link {shown} leads to another host"));
            }
            match url.query() {
                Some(query) => format!("{}?{query}", url.path()),
                None => url.path().to_owned(),
            }
        } else if link.starts_with('/') && !link.starts_with("//") {
            link.split('#').next().unwrap_or_default().to_owned()
        } else {
            return Err(format!("the link {shown} is not a path of the service"));
        };
        let only_path = path.split('?').next().unwrap_or_default();
        if only_path.split('/').any(|part| part == "..") {
            return Err(format!("the link {shown} climbs out of the service"));
        }
        Ok(path)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.base.as_str().trim_end_matches('/'))
    }
}

/// A BMC and the account on it.
#[derive(Debug, Clone)]
pub struct Target {
    pub address: Address,
    /// Path of the system, for BMCs that have several.
    pub system: Option<String>,
    /// Empty: no account is used.
    pub username: String,
    pub password: SecretString,
    pub auth: AuthType,
    pub tls: TlsPolicy,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn addresses() {
        for (text, shown, root) in [
            ("10.0.0.1", "https://10.0.0.1", "/redfish/v1/"),
            (
                "bmc.example:8443",
                "https://bmc.example:8443",
                "/redfish/v1/",
            ),
            (
                "http://10.0.0.1:8000/",
                "http://10.0.0.1:8000",
                "/redfish/v1/",
            ),
            (
                "https://h/proxy/redfish/v1",
                "https://h",
                "/proxy/redfish/v1/",
            ),
            ("2001:db8::1", "https://[2001:db8::1]", "/redfish/v1/"),
            (
                "[2001:db8::1]:444",
                "https://[2001:db8::1]:444",
                "/redfish/v1/",
            ),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!(
                (address.to_string().as_str(), address.root()),
                (shown, root),
                "{text}"
            );
        }
        for bad in [
            "",
            "ftp://h",
            "http://u:p@h",
            "https://h/?q=1",
            "a b",
            "http://",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn links_stay_on_the_bmc() {
        let address = Address::parse("https://10.0.0.1").unwrap();
        for (link, path) in [
            ("/redfish/v1/Systems/1", "/redfish/v1/Systems/1"),
            ("/redfish/v1/X?$skip=2", "/redfish/v1/X?$skip=2"),
            ("/redfish/v1/Power#/PowerSupplies/0", "/redfish/v1/Power"),
            ("https://10.0.0.1/redfish/v1/T/1", "/redfish/v1/T/1"),
            ("http://10.0.0.1/redfish/v1/T/1", "/redfish/v1/T/1"),
        ] {
            assert_eq!(address.local(link).unwrap(), path);
            assert_eq!(address.url(path).host_str(), Some("10.0.0.1"));
        }
        for bad in [
            "//evil/redfish",
            "https://evil/redfish",
            "https://10.0.0.1:444/x",
            "https://10.0.0.1@evil/x",
            "Systems/1",
            "",
            "/a/../../x",
            "/a\\b",
            "/a b",
            "/a\nb",
            "javascript:1",
        ] {
            assert!(address.local(bad).is_err(), "{bad}");
        }
        assert!(address.local(&format!("/{}", "x".repeat(3000))).is_err());
    }
}
