//! The rescue password as its hash in crypt(3)'s form, which the ramdisk's password file takes.

use bessemer_model::Fault;
use rand::RngExt;
use sha_crypt::{Sha256Params, Sha512Params, sha256_crypt_b64, sha512_crypt_b64};

/// Rounds that crypt(3) takes when the text names none.
const ROUNDS: usize = 5000;
/// Longest password; upstream's `[conductor]` knows no limit, crypt(3) does.
const LONGEST: usize = 512;

/// `$5$salt$hash`, or `$6$…` with SHA-512.
///
/// # Errors
/// 400 for a password that cannot be hashed.
pub fn hash(password: &str, sha512: bool) -> Result<String, Fault> {
    if password.len() > LONGEST {
        return Err(Fault::invalid(format!(
            "rescue_password is longer than {LONGEST} bytes."
        )));
    }
    let salt: String = rand::rng()
        .sample_iter(rand::distr::Alphanumeric)
        .take(16)
        .map(char::from)
        .collect();
    crypt(password, &salt, sha512)
}

fn crypt(password: &str, salt: &str, sha512: bool) -> Result<String, Fault> {
    // The error has nothing to say that would not hint at the password.
    let failed = || Fault::invalid("rescue_password cannot be hashed.");
    let (id, hash) = if sha512 {
        let params = Sha512Params::new(ROUNDS).map_err(|_| failed())?;
        let hash = sha512_crypt_b64(password.as_bytes(), salt.as_bytes(), &params);
        ("6", hash.map_err(|_| failed())?)
    } else {
        let params = Sha256Params::new(ROUNDS).map_err(|_| failed())?;
        let hash = sha256_crypt_b64(password.as_bytes(), salt.as_bytes(), &params);
        ("5", hash.map_err(|_| failed())?)
    };
    Ok(format!("${id}${salt}${hash}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// As `openssl passwd -5 -salt saltstring` and `-6` say.
    #[test]
    fn hashes_are_those_of_crypt() {
        assert_eq!(
            crypt("Hello world!", "saltstring", false).unwrap(),
            "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"
        );
        assert_eq!(
            crypt("Hello world!", "saltstring", true).unwrap(),
            "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1"
        );
        let one = hash("secret", false).unwrap();
        assert!(one.starts_with("$5$") && one != hash("secret", false).unwrap());
        assert!(hash(&"x".repeat(600), false).is_err());
    }
}
