//! Signatures of Standard Webhooks: <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Begins a key that is written in base64.
const PREFIX: &str = "whsec_";
/// A shorter key can be guessed.
const LEAST_BYTES: usize = 16;

/// Signs what is sent.
pub struct Signer(Hmac<Sha256>);

impl Signer {
    /// A signer with this secret: `whsec_` and base64, or any other text as it is.
    ///
    /// # Errors
    /// When it is no base64, or too short to keep anybody out. The message holds nothing of it.
    pub fn new(secret: &str) -> Result<Signer, String> {
        let secret = secret.trim();
        let key = match secret.strip_prefix(PREFIX) {
            Some(encoded) => STANDARD
                .decode(encoded)
                .map_err(|_| format!("the signing secret begins with `{PREFIX}`, but no base64 follows"))?,
            None => secret.as_bytes().to_vec(),
        };
        if key.len() < LEAST_BYTES {
            return Err(format!(
                "the signing secret has {} bytes; at least {LEAST_BYTES} are needed",
                key.len()
            ));
        }
        Hmac::new_from_slice(&key).map(Signer).map_err(|_| "the signing secret cannot be a key".to_owned())
    }

    /// The value of the header `webhook-signature`.
    pub fn sign(&self, id: &str, seconds: u64, body: &[u8]) -> String {
        let mut mac = self.0.clone();
        mac.update(id.as_bytes());
        mac.update(b".");
        mac.update(seconds.to_string().as_bytes());
        mac.update(b".");
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::Signer;

    /// The example of the specification's own reference implementations.
    #[test]
    fn the_known_answer() {
        let signer = Signer::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a sound key");
        let signature =
            signer.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_bad_secret_is_refused_and_not_shown() {
        for secret in ["short", "whsec_!!!!", "whsec_c2hvcnQ="] {
            let error = Signer::new(secret).err().unwrap_or_else(|| panic!("`{secret}` is refused"));
            assert!(!error.contains(secret), "{error}");
        }
    }
}
