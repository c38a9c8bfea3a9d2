//! When the certificates that this node shows expire.

use std::path::Path;
use std::sync::Arc;

use crate::observe::alarms::Certificate;
use crate::raft::PeerTls;
use crate::settings::{Peer, Settings};

/// More than any certificate file has.
const MOST: u64 = 1 << 20;

/// Every certificate that the settings name and that can be read; what cannot be read is told by whoever
/// has to show it.
pub(super) fn shown(settings: &Settings, tls: Option<&Arc<PeerTls>>) -> Vec<Certificate> {
    let peer = tls.zip(settings.peer.as_ref().and_then(Peer::files));
    let peer = peer.map(|(tls, files)| Certificate {
        what: "peer".into(),
        file: files.cert_file.display().to_string(),
        // Of the one in use, which may not be the file's.
        not_after: tls.not_after(),
    });
    let control = settings.control.listeners();
    let control = control.iter().filter_map(|listener| {
        Some((format!("control {}", listener.address), listener.tls.as_ref()?.cert_file.clone()))
    });
    let shown = control.filter_map(|(what, file)| {
        let not_after = not_after(&file)?;
        Some(Certificate { what, file: file.display().to_string(), not_after })
    });
    shown.chain(peer).collect()
}

/// The end of validity of the first certificate in a PEM file, Unix seconds.
fn not_after(file: &Path) -> Option<i64> {
    let small = std::fs::metadata(file).is_ok_and(|about| about.is_file() && about.len() <= MOST);
    let text = small.then(|| std::fs::read(file).ok()).flatten()?;
    let pem = x509_parser::pem::Pem::iter_from_buffer(&text)
        .flatten()
        .find(|block| block.label == "CERTIFICATE")?;
    Some(pem.parse_x509().ok()?.validity().not_after.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_read_and_anything_else_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("node.pem");
        let mut wanted = rcgen::CertificateParams::new(vec!["node".into()]).unwrap();
        wanted.not_after = rcgen::date_time_ymd(2031, 2, 3);
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = wanted.self_signed(&key).unwrap().pem();
        std::fs::write(&file, format!("some words\n{}{pem}", key.serialize_pem())).unwrap();
        assert_eq!(not_after(&file), Some(1_927_843_200));
        std::fs::write(&file, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
            .unwrap();
        assert_eq!(not_after(&file), None);
        assert_eq!(not_after(dir.path()), None);
    }
}
