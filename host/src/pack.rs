//! The stored form of a snapshot and the way back: zstd, then age.
//!
//! Sync code over `Read` and `Write`; knows neither stores nor manifests. What it writes are the plain standard formats, one
//! inside the other: `age -d | zstd -d` gives back the file.

use std::fmt;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::secret::{Secret, SecretError};

/// Bytes handed from layer to layer at once: few enough that they are still in the processor's cache at the next layer.
const CHUNK_BYTES: usize = 128 << 10;
/// The default level, and the one with parameters of our own: a snapshot repeats whole objects, revision after revision,
/// and has little in between. One table of long matches finds as much there as the library's level 3 with its two: measured
/// over three kinds of key spaces the result is 0.4 to 4 % smaller, in two thirds of the time.
pub const DEFAULT_LEVEL: i32 = 3;
/// The library's level whose strategy (`fast`, matches of 7 bytes) the default takes...
const TUNED_BASE_LEVEL: i32 = 1;
/// ...with the window of level 3, 2 MiB, as a power of two...
const TUNED_WINDOW_LOG: u32 = 21;
/// ...and a table of so many entries, which stays in the processor's second-level cache.
const TUNED_HASH_LOG: u32 = 16;
/// What one compression thread takes at once, up to [`SMALL_JOB_LEVEL`]. The compressor holds three of these and one more for
/// each thread, and as much room for what they become; left to itself it takes 8 MiB, four windows. A job knows little of
/// the one before it: half as large costs 0.5 % of the stored size with text, a quarter 1.7 %.
const JOB_BYTES: u32 = 4 << 20;
/// Highest level with a window of 2 MiB or less. Above, size counts more than memory, and the compressor chooses.
const SMALL_JOB_LEVEL: i32 = 8;
/// First bytes of a zstd frame (RFC 8878, 3.1.1), little-endian 0xFD2FB528.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// First bytes of an age file (age-encryption.org/v1).
const AGE_MAGIC: &[u8] = b"age-encryption.org/v1\n";
/// Largest zstd window that is unpacked, as a power of two: 128 MiB, what `zstd -d` takes without being asked.
const MAX_WINDOW_LOG: u32 = 27;

/// How hard a passphrase is to guess at, as a power of two: each try takes 64 MiB and a fifth of a second. age's own 18 takes
/// 256 MiB, which an agent beside etcd has not got; a passphrase that lies in a file need not be one that people remember.
const WORK_FACTOR: u8 = 16;
/// Bytes in which the header of a file with a passphrase lies: it has some 250.
const PASSPHRASE_HEADER_BYTES: usize = 1024;
/// The hardest that is opened: what `age` opens. A hostile header may ask for any amount of memory.
const MAX_WORK_FACTOR: u8 = 20;

/// How to pack.
#[derive(Debug, Clone)]
pub struct Options {
    /// zstd level, 1 to 19. [`DEFAULT_LEVEL`] is tuned for snapshots.
    pub zstd_level: i32,
    /// Compression threads; 0 takes all cores.
    pub threads: u32,
    /// Who can read the backup.
    pub recipients: Vec<Recipient>,
    /// What reads the backup. Stands alone: age takes no recipients beside it. With neither the backup is not encrypted.
    pub passphrase: Option<Secret>,
}

impl Default for Options {
    fn default() -> Self {
        Self { zstd_level: DEFAULT_LEVEL, threads: 0, recipients: Vec::new(), passphrase: None }
    }
}

/// What stands for a passphrase where a manifest names recipients: no digest of it, which could be guessed at.
pub const PASSPHRASE: &str = "passphrase";

impl Options {
    /// Whether backups are encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.passphrase.is_some() || !self.recipients.is_empty()
    }

    /// How a manifest names those who can read the backup.
    pub fn readers(&self) -> Vec<String> {
        match &self.passphrase {
            Some(_) => vec![PASSPHRASE.to_owned()],
            None => self.recipients.iter().map(Recipient::fingerprint).collect(),
        }
    }

    /// Whether [`Self::passphrase`] opens a file that begins so.
    pub fn passphrase_opens(&self, head: &[u8]) -> bool {
        let Some(passphrase) = &self.passphrase else { return false };
        decrypted(head, &[Identity::passphrase(passphrase.clone())])
            .is_ok_and(|(was_encrypted, _)| was_encrypted)
    }

    fn encryptor(&self) -> io::Result<Option<age::Encryptor>> {
        let encryptor = if let Some(passphrase) = &self.passphrase {
            let mut recipient = age::scrypt::Recipient::new(passphrase.expose().to_owned().into());
            recipient.set_work_factor(WORK_FACTOR);
            age::Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient))
        } else if self.recipients.is_empty() {
            return Ok(None);
        } else {
            let recipients = self.recipients.iter().map(|recipient| &recipient.0 as &dyn age::Recipient);
            age::Encryptor::with_recipients(recipients)
        };
        encryptor.map(Some).map_err(io::Error::other)
    }
}

/// An age X25519 recipient: the public half of an identity.
#[derive(Clone)]
pub struct Recipient(age::x25519::Recipient);

impl FromStr for Recipient {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl PartialEq for Recipient {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Recipient {
    /// Names the recipient without giving it away in full: the first 16 hex digits of the SHA-256 of its text.
    pub fn fingerprint(&self) -> String {
        hex(&Sha256::digest(self.to_string().as_bytes()))[..16].to_owned()
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// Bytes read.
    pub plain_bytes: u64,
    /// Bytes written.
    pub stored_bytes: u64,
    /// SHA-256 of the bytes written, hex.
    pub stored_sha256: String,
}

/// Reads `source` to its end and writes its stored form.
///
/// # Errors
/// Those of the source and the sink, passed through.
pub fn pack(source: &mut dyn Read, options: &Options, sink: &mut dyn Write) -> io::Result<Packed> {
    let mut digest = DigestWriter::new(sink);
    let plain_bytes = match options.encryptor()? {
        None => compress(source, options, &mut digest)?.0,
        Some(encryptor) => {
            let encrypted = encryptor.wrap_output(&mut digest)?;
            let (plain_bytes, encrypted) = compress(source, options, encrypted)?;
            encrypted.finish()?;
            plain_bytes
        }
    };
    digest.packed(plain_bytes)
}

/// What came out of packing anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repacked {
    /// What was written.
    pub packed: Packed,
    /// SHA-256 of what it unpacks to, hex.
    pub plain_sha256: String,
}

/// Reads a stored form to its end and writes another: encrypted anew, compressed as it was. What is in it is digested on the
/// way and kept nowhere. `max_plain_bytes` bounds what a forged frame may unpack to.
///
/// # Errors
/// As [`unpack`] for the beginning. Damage further in, and errors of source and sink, come as [`RepackError::Io`].
pub fn repack(
    source: impl Read,
    identities: &[Identity],
    options: &Options,
    max_plain_bytes: u64,
    sink: &mut dyn Write,
) -> Result<Repacked, RepackError> {
    let (_, compressed) = decrypted(source, identities)?;
    let (head, mut compressed) = peek(compressed, ZSTD_MAGIC.len())?;
    if !head.starts_with(&ZSTD_MAGIC) {
        let source = io::Error::new(io::ErrorKind::InvalidData, "there is no zstd frame in it");
        return Err(UnpackError::Damaged { layer: "zstd", source }.into());
    }
    let encryptor = options.encryptor()?.ok_or_else(|| io::Error::other("there is nobody to encrypt to"))?;
    let mut digest = DigestWriter::new(sink);
    let mut encrypted = encryptor.wrap_output(&mut digest)?;
    let mut nowhere = io::sink();
    let plain = Bounded { inner: DigestWriter::new(&mut nowhere), max_bytes: max_plain_bytes };
    let mut unpacking = zstd::stream::write::Decoder::new(plain)?;
    unpacking.window_log_max(MAX_WINDOW_LOG)?;
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        match compressed.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                unpacking.write_all(&buffer[..count])?;
                encrypted.write_all(&buffer[..count])?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    let plain = unpacking.finish()?.inner;
    encrypted.finish()?;
    let packed = digest.packed(plain.written)?;
    Ok(Repacked { packed, plain_sha256: hex(&plain.digest.finalize()) })
}

/// Why something could not be packed anew.
#[derive(Debug, thiserror::Error)]
pub enum RepackError {
    /// It cannot be opened.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// It is damaged further in, or cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Takes no more than it was told to.
struct Bounded<'a> {
    inner: DigestWriter<'a>,
    max_bytes: u64,
}

impl Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.inner.written + bytes.len() as u64 > self.max_bytes {
            let reason =
                format!("it unpacks to more than the {} bytes that its manifest names", self.max_bytes);
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn compress<W: Write>(source: &mut dyn Read, options: &Options, sink: W) -> io::Result<(u64, W)> {
    let tuned = options.zstd_level == DEFAULT_LEVEL;
    let level = if tuned { TUNED_BASE_LEVEL } else { options.zstd_level };
    let mut encoder = zstd::Encoder::new(sink, level)?;
    if tuned {
        encoder.set_parameter(zstd::zstd_safe::CParameter::WindowLog(TUNED_WINDOW_LOG))?;
        encoder.set_parameter(zstd::zstd_safe::CParameter::HashLog(TUNED_HASH_LOG))?;
    }
    encoder.include_checksum(true)?;
    encoder.multithread(threads(options.threads))?;
    if options.zstd_level <= SMALL_JOB_LEVEL {
        encoder.set_parameter(zstd::zstd_safe::CParameter::JobSize(JOB_BYTES))?;
    }
    let plain_bytes = copy(source, &mut encoder)?;
    Ok((plain_bytes, encoder.finish()?))
}

fn threads(asked: u32) -> u32 {
    if asked > 0 { asked } else { std::thread::available_parallelism().map_or(1, |count| count.get() as u32) }
}

fn copy(source: &mut dyn Read, sink: &mut dyn Write) -> io::Result<u64> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut copied = 0;
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(copied),
            Ok(count) => {
                sink.write_all(&buffer[..count])?;
                copied += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Passes bytes on and digests them.
struct DigestWriter<'a> {
    sink: &'a mut dyn Write,
    digest: Sha256,
    written: u64,
}

impl<'a> DigestWriter<'a> {
    fn new(sink: &'a mut dyn Write) -> Self {
        Self { sink, digest: Sha256::new(), written: 0 }
    }

    fn packed(self, plain_bytes: u64) -> io::Result<Packed> {
        self.sink.flush()?;
        Ok(Packed { plain_bytes, stored_bytes: self.written, stored_sha256: hex(&self.digest.finalize()) })
    }
}

impl Write for DigestWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.sink.write(bytes)?;
        self.digest.update(&bytes[..count]);
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

/// What opens backups: the private half of a recipient, or a passphrase.
#[derive(Clone)]
pub struct Identity(Opener);

#[derive(Clone)]
enum Opener {
    Key(age::x25519::Identity),
    Passphrase(Secret),
}

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Identity(..)")
    }
}

impl Identity {
    /// A passphrase.
    pub fn passphrase(passphrase: Secret) -> Self {
        Self(Opener::Passphrase(passphrase))
    }

    /// The recipient that this identity reads for; none of a passphrase.
    pub fn recipient(&self) -> Option<Recipient> {
        match &self.0 {
            Opener::Key(key) => Some(Recipient(key.to_public())),
            Opener::Passphrase(_) => None,
        }
    }

    fn is_passphrase(&self) -> bool {
        matches!(self.0, Opener::Passphrase(_))
    }

    fn opener(&self) -> Box<dyn age::Identity> {
        match &self.0 {
            Opener::Key(key) => Box::new(key.clone()),
            Opener::Passphrase(passphrase) => {
                let mut identity = age::scrypt::Identity::new(passphrase.expose().to_owned().into());
                identity.set_max_work_factor(MAX_WORK_FACTOR);
                Box::new(identity)
            }
        }
    }
}

/// A new identity, with its recipient.
pub struct NewIdentity {
    identity: age::x25519::Identity,
    /// Whom to encrypt to.
    pub recipient: Recipient,
}

impl NewIdentity {
    /// The identity as `age-keygen` writes it into a file.
    pub fn file_text(&self, created: Timestamp) -> Secret {
        use age::secrecy::ExposeSecret;
        let secret = self.identity.to_string();
        Secret::new(format!(
            "# created: {created}\n# public key: {}\n{}\n",
            self.recipient,
            secret.expose_secret()
        ))
    }

    /// What reads for the recipient.
    pub fn identity(&self) -> Identity {
        Identity(Opener::Key(self.identity.clone()))
    }
}

/// Bits of a file's mode that let others than its owner read it.
const OTHERS_MODE: u32 = 0o044;

/// A new identity.
pub fn new_identity() -> NewIdentity {
    let identity = age::x25519::Identity::generate();
    let recipient = Recipient(identity.to_public());
    NewIdentity { identity, recipient }
}

/// Reads the identities in a file as `age-keygen` writes it: one a line, `#` begins a comment.
pub fn read_identities(path: &Path) -> Result<Vec<Identity>, UnpackError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| UnpackError::IdentityFile { path: path.to_owned(), source })?;
    if std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & OTHERS_MODE != 0) {
        tracing::warn!(
            path = %path.display(),
            "others than its owner can read this identity file, and with it every backup; `chmod 600` it"
        );
    }
    let mut identities = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let identity = line.parse().map_err(|reason| UnpackError::IdentityLine {
            path: path.to_owned(),
            line: index + 1,
            reason,
        })?;
        identities.push(Identity(Opener::Key(identity)));
    }
    if identities.is_empty() {
        return Err(UnpackError::NoIdentityIn { path: path.to_owned() });
    }
    Ok(identities)
}

/// The bytes before they were packed, whatever the layers: told by each layer's first bytes, so that a file taken out of a
/// store by hand reads as well.
///
/// # Errors
/// No identity fits, or a layer is damaged at its beginning. Damage further in comes as an [`io::Error`] while reading.
pub fn unpack<'a>(
    source: impl Read + 'a,
    identities: &[Identity],
) -> Result<Box<dyn Read + 'a>, UnpackError> {
    let (_, decrypted) = decrypted(source, identities)?;
    let (head, decrypted) = peek(decrypted, ZSTD_MAGIC.len())?;
    if head.starts_with(&ZSTD_MAGIC) {
        let mut decoder =
            zstd::Decoder::new(decrypted).map_err(|source| UnpackError::Damaged { layer: "zstd", source })?;
        decoder
            .window_log_max(MAX_WINDOW_LOG)
            .map_err(|source| UnpackError::Damaged { layer: "zstd", source })?;
        return Ok(Box::new(decoder));
    }
    Ok(Box::new(decrypted))
}

/// The bytes below the outer layer, and whether there was one.
fn decrypted<'a>(
    source: impl Read + 'a,
    identities: &[Identity],
) -> Result<(bool, Box<dyn Read + 'a>), UnpackError> {
    let (head, source) = peek(source, PASSPHRASE_HEADER_BYTES)?;
    if !head.starts_with(AGE_MAGIC) {
        return Ok((false, Box::new(source)));
    }
    // Either kind opens its own files only, and a passphrase takes its time to find out.
    let wants_passphrase = age::Decryptor::new_buffered(&head[..]).is_ok_and(|header| header.is_scrypt());
    let mut fitting: Vec<&Identity> =
        identities.iter().filter(|identity| identity.is_passphrase() == wants_passphrase).collect();
    let tried = fitting.len();
    if wants_passphrase && tried > 1 {
        // A wrong one ends the search: each is tried by itself.
        fitting.retain(|passphrase| {
            let opened = age::Decryptor::new_buffered(&head[..])
                .and_then(|header| header.decrypt(std::iter::once(&*passphrase.opener())).map(drop));
            opened.is_ok()
        });
    }
    if fitting.is_empty() {
        return Err(match (wants_passphrase, tried) {
            (true, 0) => UnpackError::NoPassphrase,
            (true, tried) => UnpackError::WrongPassphrase { tried },
            (false, _) => UnpackError::NoIdentity,
        });
    }
    let damaged = |error| UnpackError::Damaged { layer: "age", source: io::Error::other(error) };
    let decryptor =
        age::Decryptor::new_buffered(BufReader::with_capacity(CHUNK_BYTES, source)).map_err(damaged)?;
    let openers: Vec<Box<dyn age::Identity>> = fitting.into_iter().map(Identity::opener).collect();
    match decryptor.decrypt(openers.iter().map(|opener| &**opener)) {
        Ok(reader) => Ok((true, Box::new(reader))),
        Err(age::DecryptError::NoMatchingKeys | age::DecryptError::DecryptionFailed) if wants_passphrase => {
            Err(UnpackError::WrongPassphrase { tried })
        }
        Err(age::DecryptError::NoMatchingKeys) => Err(UnpackError::WrongIdentity { tried }),
        Err(other) => Err(damaged(other)),
    }
}

/// Does a file begin like something that [`pack`] wrote?
pub fn is_packed(head: &[u8]) -> bool {
    head.starts_with(AGE_MAGIC) || head.starts_with(&ZSTD_MAGIC)
}

/// The first bytes of a stream, and the stream from its start.
fn peek<'a>(mut source: impl Read + 'a, count: usize) -> Result<(Vec<u8>, impl Read + 'a), UnpackError> {
    let mut head = Vec::with_capacity(count);
    source
        .by_ref()
        .take(count as u64)
        .read_to_end(&mut head)
        .map_err(|source| UnpackError::Damaged { layer: "stored", source })?;
    Ok((head.clone(), io::Cursor::new(head).chain(source)))
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Why a backup could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// Encrypted, and no identity was given.
    #[error("the backup is encrypted and no identity was given")]
    NoIdentity,
    /// Encrypted to others.
    #[error("none of the {tried} identities given can read the backup")]
    WrongIdentity {
        /// How many were tried.
        tried: usize,
    },
    /// Encrypted with a passphrase.
    #[error("the backup is encrypted with a passphrase and none was given")]
    NoPassphrase,
    /// Encrypted with another one.
    #[error("{} opens the backup", if *tried == 1 { "another passphrase".to_owned() } else { format!("none of the {tried} passphrases given") })]
    WrongPassphrase {
        /// How many were tried.
        tried: usize,
    },
    /// A passphrase could not be read.
    #[error(transparent)]
    Passphrase(#[from] SecretError),
    /// An identity file could not be read.
    #[error("cannot read identity file `{path}`")]
    IdentityFile {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A line that is no identity. The line itself may be a secret and is not shown.
    #[error("line {line} of identity file `{path}` is not an age identity: {reason}")]
    IdentityLine {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The parser's word.
        reason: &'static str,
    },
    /// A file without identities.
    #[error("identity file `{path}` holds no identity")]
    NoIdentityIn {
        /// The file.
        path: PathBuf,
    },
    /// A layer that does not read.
    #[error("the {layer} layer of the backup is damaged")]
    Damaged {
        /// `stored`, `age` or `zstd`.
        layer: &'static str,
        /// The cause.
        source: io::Error,
    },
}

impl UnpackError {
    /// Whether the key is missing, which says nothing about the backup.
    pub fn is_missing_key(&self) -> bool {
        matches!(
            self,
            Self::NoIdentity | Self::WrongIdentity { .. } | Self::NoPassphrase | Self::WrongPassphrase { .. }
        )
    }

    /// What a person can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoIdentity | Self::WrongIdentity { .. } => Some(
                "give the age identity that belongs to one of the backup's recipients: `--identity FILE`, or `identity_files` in [decrypt]"
                    .to_owned(),
            ),
            Self::NoPassphrase | Self::WrongPassphrase { .. } => Some(
                "give the passphrase that it was made with: `--passphrase-file FILE`, or `passphrase_files` in [decrypt]"
                    .to_owned(),
            ),
            Self::Passphrase(error) => error.hint(),
            Self::IdentityLine { .. } | Self::NoIdentityIn { .. } => {
                Some("an identity is a line `AGE-SECRET-KEY-1…`, as `age-keygen` writes it".to_owned())
            }
            Self::Damaged { .. } => {
                Some("take the backup from another store, or take an earlier one: `holdfast list` shows them".to_owned())
            }
            Self::IdentityFile { .. } => Some("name a file that is there and can be read, as `age-keygen -o FILE` writes it".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use age::secrecy::ExposeSecret;

    use super::*;

    fn packed(plain: &[u8], recipients: Vec<Recipient>) -> (Vec<u8>, Packed) {
        let mut stored = Vec::new();
        let options = Options { recipients, ..Options::default() };
        let facts = pack(&mut &plain[..], &options, &mut stored).unwrap();
        (stored, facts)
    }

    fn unpacked(stored: &[u8], identities: &[Identity]) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        unpack(stored, identities).map_err(io::Error::other)?.read_to_end(&mut plain)?;
        Ok(plain)
    }

    fn pair() -> (Identity, Recipient) {
        let made = new_identity();
        (made.identity(), made.recipient)
    }

    fn passphrase(text: &str) -> Identity {
        Identity::passphrase(Secret::new(text.to_owned()))
    }

    #[test]
    fn a_passphrase_opens_what_it_closed_and_nothing_else_does() {
        let options =
            Options { passphrase: Some(Secret::new("correct horse".to_owned())), ..Options::default() };
        let mut stored = Vec::new();
        pack(&mut &b"secret"[..], &options, &mut stored).unwrap();
        assert!(String::from_utf8_lossy(&stored).contains("scrypt"));
        let (right, wrong, key) = (passphrase("correct horse"), passphrase("battery staple"), pair().0);
        assert_eq!(unpacked(&stored, &[key.clone(), wrong.clone(), right.clone()]).unwrap(), b"secret");
        assert!(matches!(unpack(&stored[..], std::slice::from_ref(&key)), Err(UnpackError::NoPassphrase)));
        assert!(matches!(unpack(&stored[..], &[key, wrong]), Err(UnpackError::WrongPassphrase { tried: 1 })));
        assert!(options.passphrase_opens(&stored[..stored.len().min(4096)]));
        let other = Options { passphrase: Some(Secret::new("other".to_owned())), ..Options::default() };
        assert!(!other.passphrase_opens(&stored));
        let (for_key, _) = packed(b"secret", vec![pair().1]);
        assert!(matches!(unpack(&for_key[..], &[right]), Err(UnpackError::NoIdentity)));
    }

    #[test]
    fn packed_anew_it_is_the_same_to_other_readers() {
        let plain = sample();
        let ((old, old_recipient), (new, new_recipient)) = (pair(), pair());
        let options = Options { recipients: vec![new_recipient], ..Options::default() };
        for recipients in [vec![], vec![old_recipient]] {
            let (stored, _) = packed(&plain, recipients);
            let mut again = Vec::new();
            let openers = std::slice::from_ref(&old);
            let bytes = plain.len() as u64;
            let repacked = repack(&stored[..], openers, &options, bytes, &mut again).unwrap();
            assert_eq!(repacked.plain_sha256, hex(&Sha256::digest(&plain)));
            assert_eq!(repacked.packed.stored_sha256, hex(&Sha256::digest(&again)));
            assert_eq!(
                (repacked.packed.plain_bytes, repacked.packed.stored_bytes),
                (bytes, again.len() as u64)
            );
            assert_eq!(unpacked(&again, std::slice::from_ref(&new)).unwrap(), plain);
            assert!(matches!(unpack(&again[..], openers), Err(UnpackError::WrongIdentity { .. })));
            let cut = &stored[..stored.len() - 9];
            assert!(
                repack(cut, openers, &options, bytes, &mut Vec::new()).is_err(),
                "a cut was taken for the whole"
            );
            assert!(repack(&stored[..], openers, &options, bytes - 1, &mut Vec::new()).is_err(), "no bound");
        }
    }

    fn sample() -> Vec<u8> {
        (0..3_000_000_u32).flat_map(|index| (index / 7).to_le_bytes()).collect()
    }

    #[test]
    fn packed_and_unpacked_is_the_same() {
        let plain = sample();
        let (identity, recipient) = pair();
        for recipients in [vec![], vec![recipient]] {
            let (stored, facts) = packed(&plain, recipients);
            assert_eq!((facts.plain_bytes, facts.stored_bytes), (plain.len() as u64, stored.len() as u64));
            assert_eq!(facts.stored_sha256, hex(&Sha256::digest(&stored)));
            assert!(is_packed(&stored));
            assert_eq!(unpacked(&stored, std::slice::from_ref(&identity)).unwrap(), plain);
        }
    }

    #[test]
    fn a_plain_file_passes_through() {
        for plain in [&b""[..], b"x", b"a plain file that is longer than any magic"] {
            assert_eq!(unpacked(plain, &[]).unwrap(), plain);
        }
    }

    #[test]
    fn other_identities_and_none_are_told_apart() {
        let (stored, _) = packed(b"secret", vec![pair().1]);
        let other = pair().0;
        assert!(matches!(unpack(&stored[..], &[]), Err(UnpackError::NoIdentity)));
        assert!(matches!(unpack(&stored[..], &[other]), Err(UnpackError::WrongIdentity { tried: 1 })));
    }

    #[test]
    fn a_cut_is_an_error_and_a_flip_never_other_bytes() {
        let plain: Vec<u8> = sample()[..40_000].to_vec();
        let (identity, recipient) = pair();
        for recipients in [vec![], vec![recipient]] {
            let (stored, _) = packed(&plain, recipients);
            for place in (0..stored.len()).step_by(97) {
                if place > 4 {
                    assert!(
                        unpacked(&stored[..place], std::slice::from_ref(&identity)).is_err(),
                        "cut at {place}"
                    );
                }
                let mut flipped = stored.clone();
                flipped[place] ^= 0x10;
                // A match that is moved onto its equal is the same file. Without its magic number a layer is no layer, and
                // the bytes are passed on: that is for the manifest's digest to tell.
                let read = unpacked(&flipped, std::slice::from_ref(&identity));
                let harmless = read.as_ref().is_ok_and(|bytes| *bytes == plain);
                assert!(read.is_err() || harmless || place < 30, "flip at {place} passed");
            }
        }
    }

    #[test]
    fn identity_files_are_read_as_age_keygen_writes_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.txt");
        let identity = age::x25519::Identity::generate();
        std::fs::write(&path, format!("# created\n\n{}\n", identity.to_string().expose_secret())).unwrap();
        let read = read_identities(&path).unwrap();
        assert_eq!(read[0].recipient().unwrap().to_string(), identity.to_public().to_string());
        std::fs::write(&path, "AGE-SECRET-KEY-1WRONG\n").unwrap();
        let error = read_identities(&path).unwrap_err();
        assert!(!error.to_string().contains("WRONG"), "{error}");
    }
}
