//! What Kubernetes keeps in etcd, from the bytes to an object that can be read.
//!
//! An API server stores one object under one key. [`ObjectKey`] tells from the key alone which object it is for; [`Object`] is what
//! the value says, as the API server would show it. What is encrypted at rest opens with the server's [`Keys`].
//!
//! ```
//! use kubernetes_objects::{Object, to_yaml};
//!
//! # fn main() -> Result<(), kubernetes_objects::DecodeError> {
//! let stored = b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x11\x0a\x0f\x0a\x08settings\x1a\x03web";
//! let object = Object::decode(stored)?;
//! assert_eq!((object.kind(), object.namespace(), object.name()), ("ConfigMap", "web", "settings"));
//! assert_eq!(
//!     to_yaml(&object.applicable()),
//!     "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\n  namespace: web\n"
//! );
//! # Ok(())
//! # }
//! ```
//!
//! Built-in kinds are known from the types that Kubernetes publishes (see `schema.txt` for the version). Of kinds that are not known
//! the metadata is read, fields that are not known are counted: [`Completeness`]. No error ever quotes a value.

#![warn(missing_docs)]

mod apply;
mod decode;
mod encryption;
mod error;
mod forms;
mod key;
mod names;
mod object;
mod resource;
mod schema;
mod wire;
mod yaml;

pub use encryption::{ConfigurationError, Keys, UnsealError};
pub use error::DecodeError;
pub use key::{DEFAULT_PREFIX, ObjectKey, ResourceName};
pub use names::{NamedResource, built_in_called};
pub use object::{Completeness, Encryption, Object, Stored};
pub use resource::{BUILT_IN, Resource, built_in};
pub use yaml::to_yaml;
