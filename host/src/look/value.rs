//! What lies under a key, as far as it can be read.

use std::borrow::Cow;

use kubernetes_objects::{DecodeError, Keys, Object, Stored, UnsealError};

/// A value, opened as far as can be.
pub struct Content<'a> {
    /// The bytes: decrypted where they were encrypted and a key was given.
    pub bytes: Cow<'a, [u8]>,
    /// What they are.
    pub form: Form,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub enum Form {
    /// An object of Kubernetes.
    Object(Box<Object>),
    /// An object of Kubernetes that stays encrypted.
    Encrypted(UnsealError),
    /// It begins as an object of Kubernetes and is none.
    Broken(DecodeError),
    /// Printable text.
    Text,
    /// Anything else.
    Binary,
}

/// Reads a value. `keys` are those of the API server, when it encrypts.
pub fn read<'a>(keys: &Keys, etcd_key: &[u8], value: &'a [u8], mod_revision: i64) -> Content<'a> {
    let bytes = match keys.unseal(etcd_key, value) {
        Ok(bytes) => bytes,
        Err(error) => return Content { bytes: Cow::Borrowed(value), form: Form::Encrypted(error) },
    };
    let form = match Object::decode(&bytes) {
        Ok(mut object) => {
            object.set_resource_version(mod_revision);
            Form::Object(Box::new(object))
        }
        Err(error) if Stored::of(&bytes) == Stored::Protobuf => Form::Broken(error),
        Err(_) => match std::str::from_utf8(&bytes) {
            Ok(text) if is_printable(text) => Form::Text,
            _ => Form::Binary,
        },
    };
    Content { bytes, form }
}

fn is_printable(text: &str) -> bool {
    text.chars().all(|character| !character.is_control() || matches!(character, '\n' | '\r' | '\t'))
}

#[cfg(test)]
mod tests {
    use kubernetes_objects::{Keys, UnsealError};

    use super::{Form, read};

    fn form(value: &[u8]) -> Form {
        read(&Keys::none(), b"/k", value, 7).form
    }

    #[test]
    fn values_are_told_apart() {
        let Form::Object(object) = form(br#"{"apiVersion":"v1","kind":"A","metadata":{"name":"x"}}"#) else {
            panic!("it is an object")
        };
        assert_eq!(object.metadata()["resourceVersion"], "7");
        assert!(matches!(form(b"k8s\0\x0a"), Form::Broken(_)));
        let sealed = UnsealError::NoKey { provider: "aescbc".to_owned(), key_name: "one".to_owned() };
        assert_eq!(form(b"k8s:enc:aescbc:v1:one:x"), Form::Encrypted(sealed));
        assert_eq!(form(b"{\"a\": 1}\n"), Form::Text);
        assert_eq!(form(b""), Form::Text);
        assert_eq!(form(b"a\0"), Form::Binary);
        assert_eq!(form(b"\xff"), Form::Binary);
    }
}
