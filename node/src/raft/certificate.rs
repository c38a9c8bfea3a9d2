//! What a certificate says, as far as it matters between nodes: whose it is, for how long, and for what.
//! Pure; whether to believe it is decided in [`super::tls`].
//!
//! A node's certificate carries one DNS name `NAME.CLUSTER.leasehold.internal`, CLUSTER being the cluster's
//! id in 16 hexadecimal digits. A DNS name is what every authority can put into a certificate and every
//! tool shows, and no name below `.internal` belongs to anybody on the Internet. It is never looked up.

use std::fmt;
use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// What the names of all nodes end in.
const SUFFIX: &str = ".leasehold.internal";
/// The longest label of a DNS name.
const LONGEST: usize = 63;

/// Who a node is, by its certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerName {
    /// The cluster.
    pub cluster: u64,
    /// The node, in small letters.
    pub name: String,
}

impl PeerName {
    /// A node's name in a cluster.
    ///
    /// # Errors
    /// When it cannot be a label of a DNS name, or the cluster is 0.
    pub fn new(name: &str, cluster: u64) -> Result<PeerName, String> {
        let name = name.to_ascii_lowercase();
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > LONGEST || !name.chars().all(good) {
            return Err(format!(
                "{name:?} cannot be the name of a node in a certificate: 1 to {LONGEST} letters, digits and hyphens"
            ));
        }
        if name.starts_with('-') || name.ends_with('-') {
            return Err(format!(
                "the name of a node neither begins nor ends with a hyphen: {name}"
            ));
        }
        if cluster == 0 {
            return Err("0 is no cluster id".to_owned());
        }
        Ok(PeerName { cluster, name })
    }

    /// What stands in the certificate.
    pub fn dns(&self) -> String {
        format!("{}.{:016x}{SUFFIX}", self.name, self.cluster)
    }

    fn of_dns(dns: &str) -> Option<PeerName> {
        let dns = dns.to_ascii_lowercase();
        let (name, cluster) = dns.strip_suffix(SUFFIX)?.split_once('.')?;
        PeerName::new(name, cluster_id(cluster)?).ok()
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.dns())
    }
}

/// A cluster's id as it is written everywhere: 16 hexadecimal digits, not all 0.
pub fn cluster_id(text: &str) -> Option<u64> {
    let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(text, 16).ok().filter(|id| digits && *id != 0)
}

/// A certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Whose it is, as X.509 says it.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// Its number.
    pub serial: String,
    /// From when it is good, Unix seconds.
    pub not_before: i64,
    /// Until when it is good, Unix seconds.
    pub not_after: i64,
    /// DNS names.
    pub dns: Vec<String>,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    /// Whether it may sign others.
    pub authority: bool,
    /// Whether it says that a server may show it.
    pub server: bool,
    /// Whether it says that a client may show it.
    pub client: bool,
}

impl Certificate {
    /// Reads one.
    ///
    /// # Errors
    /// When it is none.
    pub fn of_der(der: &[u8]) -> Result<Certificate, String> {
        let bad = |why: &dyn fmt::Display| format!("it is no certificate: {why}");
        let (_, x509) = X509Certificate::from_der(der).map_err(|error| bad(&error))?;
        let names = x509.subject_alternative_name().map_err(|error| bad(&error))?;
        let usages = x509.extended_key_usage().map_err(|error| bad(&error))?;
        let (mut dns, mut addresses) = (Vec::new(), Vec::new());
        for name in names.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::DNSName(name) => dns.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => addresses.extend(address(bytes)),
                _ => {}
            }
        }
        let may = |which: fn(&x509_parser::extensions::ExtendedKeyUsage<'_>) -> bool| {
            usages.as_ref().is_some_and(|usage| usage.value.any || which(usage.value))
        };
        Ok(Certificate {
            subject: x509.subject().to_string(),
            issuer: x509.issuer().to_string(),
            serial: x509.raw_serial_as_string(),
            not_before: x509.validity().not_before.timestamp(),
            not_after: x509.validity().not_after.timestamp(),
            dns,
            addresses,
            authority: x509.is_ca(),
            server: may(|usage| usage.server_auth),
            client: may(|usage| usage.client_auth),
        })
    }

    /// Reads every certificate of a PEM file.
    ///
    /// # Errors
    /// When there is none, or something else is wrong.
    pub fn of_pem(pem: &[u8]) -> Result<Vec<Certificate>, String> {
        let ders = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        let ders = ders.map_err(|_| "it is no file of certificates (PEM)".to_owned())?;
        if ders.is_empty() {
            return Err("there is no certificate in it (PEM)".to_owned());
        }
        ders.iter().map(|der| Certificate::of_der(der)).collect()
    }

    /// Which node it belongs to.
    ///
    /// # Errors
    /// When it is no node's, with what is missing.
    pub fn peer(&self) -> Result<PeerName, String> {
        let mut found = self.dns.iter().filter(|name| name.to_ascii_lowercase().ends_with(SUFFIX));
        let (Some(name), None) = (found.next(), found.next()) else {
            return Err(format!(
                "the certificate names no node: exactly one DNS name NAME.CLUSTER{SUFFIX} must stand in it"
            ));
        };
        let peer = PeerName::of_dns(name).ok_or_else(|| {
            let name: String = name.chars().filter(|c| !c.is_control()).take(128).collect();
            format!(
                "the certificate's name {name} is not NAME.CLUSTER{SUFFIX} with 16 hexadecimal digits for CLUSTER"
            )
        })?;
        if !(self.server && self.client) {
            return Err(
                "the certificate is not for both ends: its extended key usage must have serverAuth and clientAuth"
                    .to_owned(),
            );
        }
        Ok(peer)
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_node_and_cluster() {
        let name = PeerName::new("Rack-A-1", 0xab).unwrap();
        assert_eq!(name.dns(), "rack-a-1.00000000000000ab.leasehold.internal");
        assert_eq!(PeerName::of_dns(&name.dns().to_uppercase()), Some(name));
        for bad in ["", "a.b", "-a", "a-", "a_b", "é", &"x".repeat(64)] {
            assert!(PeerName::new(bad, 1).is_err(), "{bad}");
        }
        for bad in [
            "a.ab.leasehold.internal",
            "a.00000000000000ab.leasehold.example",
            "a.0000000000000000.leasehold.internal",
            "a.+0000000000000ab.leasehold.internal",
            "x.a.00000000000000ab.leasehold.internal",
            "00000000000000ab.leasehold.internal",
            ".00000000000000ab.leasehold.internal",
        ] {
            assert_eq!(PeerName::of_dns(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        for bad in [&b""[..], b"nonsense", b"\x30\x82\xff\xff", &[0x30; 4096]] {
            assert!(Certificate::of_der(bad).is_err());
            assert!(Certificate::of_pem(bad).is_err());
        }
    }
}
