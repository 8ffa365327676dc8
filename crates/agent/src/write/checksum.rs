//! Which checksum an image has to have: from `image_info`, or from a checksum file behind a URL.
//!
//! Checksum files come in the styles of GNU (`value  name`), BSD (`SHA256 (name) = value`) and as one bare value.

use std::sync::Arc;

use bessemer_image::{Algorithm, Checksum};
use bessemer_wire::ImageInfo;
use url::Url;

use super::http::ImageServer;
use crate::error::Failure;

/// The checksum to verify. `md5_enabled` is what look-up said.
pub async fn wanted(
    server: &Arc<ImageServer>,
    image: &ImageInfo,
    md5_enabled: bool,
) -> Result<Checksum, Failure> {
    let value = |text: &Option<String>| text.clone().filter(|t| !t.trim().is_empty());
    let (algorithm, text) = match (value(&image.os_hash_algo), value(&image.os_hash_value)) {
        (Some(name), Some(text)) => {
            let algorithm = Algorithm::from_name(&name).ok_or_else(|| {
                Failure::InvalidParams(format!(
                    "os_hash_algo {name:?} is not known here; sha256, sha512 and md5 are"
                ))
            })?;
            (Some(algorithm), text)
        }
        _ => {
            let text = value(&image.checksum).ok_or_else(|| {
                Failure::ImageChecksum(format!(
                    "image {} comes without a checksum; set image_checksum, or image_os_hash_algo and image_os_hash_value",
                    image.id
                ))
            })?;
            (None, text)
        }
    };
    let text = text.trim().to_owned();
    let text = if text.starts_with("http://") || text.starts_with("https://") {
        let url = Url::parse(&text)
            .map_err(|e| Failure::InvalidParams(format!("the checksum's URL: {e}")))?;
        let file = server
            .text(&url)
            .await
            .map_err(|e| Failure::ImageDownload(format!("the checksum file {}", e.sentence)))?;
        let name = image_name(image);
        find_in_file(&file, &name, algorithm).ok_or_else(|| {
            Failure::ImageDownload(format!(
                "the checksum file {} has no value for {name}",
                super::http::shown(&url)
            ))
        })?
    } else {
        text
    };
    let checksum = match algorithm {
        Some(algorithm) => Checksum::new(algorithm, &text),
        None => Checksum::parse(&text),
    }
    .map_err(|e| Failure::InvalidParams(e.to_string()))?;
    if checksum.algorithm() == Algorithm::Md5 && !md5_enabled {
        return Err(Failure::ImageChecksum(format!(
            "the checksum of image {} is MD5, which is switched off; use SHA-256, or set [agent]allow_md5_checksum",
            image.id
        )));
    }
    Ok(checksum)
}

/// Last part of the path of the first URL.
fn image_name(image: &ImageInfo) -> String {
    image
        .urls
        .first()
        .and_then(|text| Url::parse(text).ok())
        .and_then(|url| url.path().rsplit('/').next().map(str::to_owned))
        .unwrap_or_default()
}

/// The value for a file's name; a file with a single bare value needs no name.
fn find_in_file(text: &str, name: &str, algorithm: Option<Algorithm>) -> Option<String> {
    let is_value = |t: &str| {
        Checksum::parse(t).is_ok_and(|c| algorithm.is_none_or(|wanted| wanted == c.algorithm()))
    };
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    if let [only] = lines.as_slice()
        && is_value(only)
    {
        return Some((*only).to_owned());
    }
    lines.iter().find_map(|line| {
        // BSD first: its line also has blanks
        if let Some((left, value)) = line.rsplit_once('=') {
            let file = left
                .split_once('(')
                .and_then(|(_, rest)| rest.rsplit_once(')'));
            if let Some((file, _)) = file {
                let value = value.trim();
                return (base(file) == name && is_value(value)).then(|| value.to_owned());
            }
        }
        let (value, file) = line.split_once(char::is_whitespace)?;
        let file = file.trim().trim_start_matches('*');
        (base(file) == name && is_value(value)).then(|| value.to_owned())
    })
}

fn base(path: &str) -> &str {
    path.trim().rsplit('/').next().unwrap_or_default()
}

/// Fuzz target: a checksum file.
pub fn fuzz_checksum_file(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = find_in_file(&text, "image.qcow2", None);
    let _ = find_in_file(&text, "image.qcow2", Some(Algorithm::Sha256));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn checksum_files() {
        let a = "a".repeat(64);
        let b = "b".repeat(64);
        let c = "c".repeat(128);
        let cases = [
            (format!("{a}\n"), Some(&a)),
            (format!("{b}  other.qcow2\n{a}  image.qcow2\n"), Some(&a)),
            (
                format!("{b} *other.qcow2\r\n{a} *image.qcow2\r\n"),
                Some(&a),
            ),
            (
                format!("# x\nSHA256 (other.qcow2) = {b}\nSHA256 (image.qcow2) = {a}"),
                Some(&a),
            ),
            (
                format!("SHA512 (image.qcow2) = {c}\nSHA256 (./image.qcow2) = {a}"),
                Some(&a),
            ),
            (format!("{b}  other.qcow2"), None),
            (String::new(), None),
            (format!("{a}  image.qcow2"), Some(&a)),
        ];
        for (text, expected) in cases {
            assert_eq!(
                find_in_file(&text, "image.qcow2", Some(Algorithm::Sha256)).as_ref(),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn mutated_files_do_no_harm() {
        let sample = format!(
            "SHA256 (image.qcow2) = {}\n{}  *image.qcow2\n",
            "a".repeat(64),
            "b".repeat(32)
        );
        let mut random: u32 = 5;
        for _ in 0..3000 {
            let mut data = sample.clone().into_bytes();
            for _ in 0..3 {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = usize::try_from(random >> 8).unwrap() % data.len();
                data[at] = u8::try_from(random >> 24).unwrap();
            }
            fuzz_checksum_file(&data);
        }
    }
}
