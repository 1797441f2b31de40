//! The keys that sign and verify tokens: ES256 or RS256, from PEM.

use super::claims::Claims;
use crate::config::ServiceAccounts;
use jsonwebtoken::jwk::{Jwk, KeyAlgorithm, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use machinery::Status;
use serde::Deserialize;

struct PublicKey {
    jwk: Jwk,
    id: String,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// The issuer's keys.
pub struct Keys {
    issuer: String,
    signing: Option<(Header, EncodingKey)>,
    public: Vec<PublicKey>,
}

fn failed(what: &str, why: impl std::fmt::Display) -> Status {
    Status::internal(format!(
        "failed to use the service account {what}: {why}; it must be a PEM ECDSA P-256 or RSA key"
    ))
}

impl Keys {
    /// Reads the configured keys. Fails when one is neither ECDSA P-256 nor RSA.
    pub fn new(config: &ServiceAccounts) -> Result<Self, Status> {
        let mut keys = Self { issuer: config.issuer.clone(), signing: None, public: Vec::new() };
        if let Some(pem) = &config.signing_key {
            let (algorithm, key) = match EncodingKey::from_ec_pem(pem) {
                Ok(key) => (Algorithm::ES256, key),
                Err(_) => {
                    let key = EncodingKey::from_rsa_pem(pem).map_err(|error| failed("signing key", error))?;
                    (Algorithm::RS256, key)
                }
            };
            let jwk =
                Jwk::from_encoding_key(&key, algorithm).map_err(|error| failed("signing key", error))?;
            let id = keys.add(jwk, algorithm).map_err(|error| failed("signing key", error))?;
            let header = Header { kid: Some(id), typ: None, ..Header::new(algorithm) };
            keys.signing = Some((header, key));
        }
        for pem in &config.verification_keys {
            let (algorithm, key) = match DecodingKey::from_ec_pem(pem) {
                Ok(key) => (Algorithm::ES256, key),
                Err(_) => {
                    let key =
                        DecodingKey::from_rsa_pem(pem).map_err(|error| failed("verification key", error))?;
                    (Algorithm::RS256, key)
                }
            };
            let jwk = Jwk::from_decoding_key(&key, Some(algorithm))
                .map_err(|error| failed("verification key", error))?;
            keys.add(jwk, algorithm).map_err(|error| failed("verification key", error))?;
        }
        Ok(keys)
    }

    fn add(&mut self, mut jwk: Jwk, algorithm: Algorithm) -> Result<String, jsonwebtoken::errors::Error> {
        let id = jwk.thumbprint(ThumbprintHash::SHA256)?;
        if self.public.iter().any(|known| known.id == id) {
            return Ok(id);
        }
        jwk.common.key_id = Some(id.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        jwk.common.key_algorithm = Some(match algorithm {
            Algorithm::ES256 => KeyAlgorithm::ES256,
            _ => KeyAlgorithm::RS256,
        });
        let key = DecodingKey::from_jwk(&jwk)?;
        self.public.push(PublicKey { jwk, id: id.clone(), algorithm, key });
        Ok(id)
    }

    /// The issuer.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The public keys.
    pub fn public(&self) -> impl Iterator<Item = &Jwk> {
        self.public.iter().map(|key| &key.jwk)
    }

    /// The algorithms in use, each once.
    pub fn algorithms(&self) -> Vec<String> {
        let mut names: Vec<String> = self.public.iter().map(|key| format!("{:?}", key.algorithm)).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Signs a token. Fails without a signing key.
    pub fn sign(&self, claims: &Claims) -> Result<String, Status> {
        let Some((header, key)) = &self.signing else {
            return Err(Status::internal(
                "no service account signing key is configured; set --service-account-signing-key-file",
            ));
        };
        jsonwebtoken::encode(header, claims, key).map_err(Status::internal)
    }

    /// The claims of a token of this issuer with a good signature; `None` when another issued it. Times and
    /// audiences are the caller's to check.
    pub fn verify(&self, token: &str) -> Result<Option<Claims>, Status> {
        #[derive(Deserialize)]
        struct Issued {
            #[serde(default)]
            iss: String,
        }
        let (Ok(header), Ok(issued)) = (
            jsonwebtoken::decode_header(token),
            jsonwebtoken::dangerous::insecure_decode_claims::<Issued>(token),
        ) else {
            return Ok(None);
        };
        if issued.iss != self.issuer {
            return Ok(None);
        }
        let named = |key: &&PublicKey| header.kid.as_deref().is_none_or(|id| id == key.id);
        for key in self.public.iter().filter(named).filter(|key| key.algorithm == header.alg) {
            let mut validation = Validation::new(key.algorithm);
            validation.required_spec_claims.clear();
            validation.validate_exp = false;
            validation.validate_aud = false;
            if let Ok(token) = jsonwebtoken::decode::<Claims>(token, &key.key, &validation)
                && token.claims.consistent()
            {
                return Ok(Some(token.claims));
            }
        }
        Err(Status::unauthorized())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::service_account::claims::{Bound, Reference};

    fn config() -> ServiceAccounts {
        let key = rcgen::KeyPair::generate().unwrap();
        ServiceAccounts {
            issuer: "https://issuer".to_owned(),
            signing_key: Some(key.serialize_pem().into_bytes()),
            ..ServiceAccounts::default()
        }
    }

    fn claims() -> Claims {
        Claims {
            aud: vec!["https://issuer".to_owned()],
            iss: "https://issuer".to_owned(),
            sub: "system:serviceaccount:a:b".to_owned(),
            kubernetes: Bound {
                namespace: "a".to_owned(),
                serviceaccount: Reference { name: "b".to_owned(), uid: "u".to_owned() },
                ..Bound::default()
            },
            ..Claims::default()
        }
    }

    #[test]
    fn only_own_and_untouched_tokens_verify() {
        let keys = Keys::new(&config()).unwrap();
        let token = keys.sign(&claims()).unwrap();
        assert_eq!(keys.verify(&token).unwrap(), Some(claims()));
        let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
        let other = keys.sign(&Claims { exp: 9, ..claims() }).unwrap();
        parts[1] = other.split('.').nth(1).unwrap().to_owned();
        assert_eq!(keys.verify(&parts.join(".")).unwrap_err().code, 401);
        let foreign = keys.sign(&Claims { iss: "https://other".to_owned(), ..claims() }).unwrap();
        assert_eq!(keys.verify(&foreign).unwrap(), None);
        let lying = keys.sign(&Claims { sub: "system:admin".to_owned(), ..claims() }).unwrap();
        assert_eq!(keys.verify(&lying).unwrap_err().code, 401);
        assert_eq!(keys.verify("a.b.c").unwrap(), None);
        assert_eq!(keys.algorithms(), ["ES256"]);
        assert!(Keys::new(&ServiceAccounts { signing_key: Some(b"x".to_vec()), ..config() }).is_err());
    }
}
