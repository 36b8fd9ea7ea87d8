//! Specs from a file: what it holds, with functions attached by name, for the builder to take.

use std::{io, path::Path, vec};

use crate::{
    client::{copies::Copies, file::error::SpecFileError, spec::ClientSpec},
    transport::read::read_at_most,
};

pub(crate) mod error;
mod parse;
mod without_values;

/// The clients that a TOML or JSON file describes (feature `files`).
///
/// In TOML each of them is a table `[[client]]`, in JSON an element of the list `"client"`. The keys
/// are the names of the setters of [`ClientSpec`], and `times` makes a template of a client. Only
/// `name` and `broker` have to be there. `docs/SPEC_FILES.md` has all keys.
///
/// What a file can't hold, handlers and pub functions, is attached by the client's name. Then the
/// whole file is given to [`FleetBuilder::clients`](crate::FleetBuilder::clients), with its
/// templates' copies.
///
/// ```
/// use std::time::Duration;
/// use mqtt_fleet::{Fleet, QoS, SpecFile};
///
/// # fn main() -> Result<(), mqtt_fleet::Error> {
/// let file = SpecFile::from_toml(
///     r#"
///     [[client]]
///     name = "plant"
///     broker = "mqtt://10.0.0.5"
///     subscribe = ["state/#", { filter = "sensors/+/temp", qos = 1 }]
///     will = { topic = "gw/state", payload = "offline", retain = true }
///     retry = { attempts = 3, pause = ["200ms", "5s"] }
///
///     [[client]]
///     name = "dev-{i}"
///     times = 20
///     broker = "mqtt://10.0.0.5"
///     "#,
/// )?; // or SpecFile::read("fleet.toml")?
/// let file = file
///     .attach("plant", |spec| {
///         spec.on_message("state/#", |message, _clients| {
///             println!("{}: {}", message.topic(), message.text());
///             Ok(())
///         })
///     })?
///     .attach("dev-{i}", |spec| {
///         spec.publish_every(Duration::from_secs(1), |client| {
///             client.try_publish("up", QoS::AtMostOnce, false, client.name().to_owned())?;
///             Ok(())
///         })
///     })?;
/// let builder = Fleet::builder().clients(file);
/// # let _ = builder;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct SpecFile {
    entries: Vec<Copies>,
}

impl SpecFile {
    /// Reads a file whose name ends in `.toml` or `.json`. A `password_file`, or a file of `tls`,
    /// that is not absolute is looked for beside it.
    ///
    /// # Errors
    ///
    /// The file can't be read, or something in it is wrong: [`SpecFileError::Content`] names
    /// line, column and key.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, SpecFileError> {
        let path = path.as_ref();
        let extension = path.extension().map(|end| end.to_ascii_lowercase());
        let parse = match extension.as_ref().and_then(|end| end.to_str()) {
            Some("toml") => parse::toml,
            Some("json") => parse::json,
            _ => {
                let path = path.to_owned();
                return Err(SpecFileError::Extension { path });
            }
        };
        let text = read(path).map_err(|source| SpecFileError::Read {
            path: path.to_owned(),
            source,
        })?;
        let mut entries = parse(&text).map_err(|fault| fault.found_in(Some(path)))?;
        let directory = path.parent().unwrap_or(Path::new(""));
        for entry in &mut entries {
            for file in entry.spec.settings.files() {
                *file = directory.join(&*file);
            }
        }
        Ok(Self { entries })
    }

    /// The clients of a TOML text.
    ///
    /// # Errors
    ///
    /// Something in it is wrong: [`SpecFileError::Content`] names line, column and key.
    pub fn from_toml(text: &str) -> Result<Self, SpecFileError> {
        let entries = parse::toml(text).map_err(|fault| fault.found_in(None))?;
        Ok(Self { entries })
    }

    /// The clients of a JSON text.
    ///
    /// # Errors
    ///
    /// Something in it is wrong: [`SpecFileError::Content`] names line, column and key.
    pub fn from_json(text: &str) -> Result<Self, SpecFileError> {
        let entries = parse::json(text).map_err(|fault| fault.found_in(None))?;
        Ok(Self { entries })
    }

    /// Changes the client, or the template, of this name: attaches functions to it. The name is the
    /// file's, its placeholders not filled in.
    ///
    /// # Errors
    ///
    /// [`SpecFileError::UnknownName`]: there is none of this name.
    pub fn attach(
        mut self,
        name: &str,
        change: impl FnOnce(ClientSpec) -> ClientSpec,
    ) -> Result<Self, SpecFileError> {
        let Some(at) = self.entries.iter().position(|entry| entry.name() == name) else {
            let name = name.to_owned();
            return Err(SpecFileError::UnknownName { name });
        };
        let entry = self.entries.remove(at).attach(change);
        self.entries.insert(at, entry);
        Ok(self)
    }

    /// Changes every client and template, such as by a function that all of them have.
    pub fn attach_all(mut self, mut change: impl FnMut(ClientSpec) -> ClientSpec) -> Self {
        let entries = self.entries.into_iter();
        self.entries = entries.map(|entry| entry.attach(&mut change)).collect();
        self
    }

    /// Leaves the part of machine `k` of `of` machines that run this file between them: of each
    /// template its share, as [`Copies::shard`] says; a client without `times` runs on machine 0.
    pub fn shard(mut self, k: usize, of: usize) -> Self {
        let entries = self.entries.into_iter();
        self.entries = entries.map(|entry| entry.shard(k, of)).collect();
        self
    }

    /// The names of clients and templates, in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(Copies::name)
    }
}

/// The largest file of specs: a hundred thousand clients that are written one by one.
const LARGEST: u64 = 64 * 1024 * 1024;

/// The text of a file, with or without a byte order mark.
fn read(path: &Path) -> io::Result<String> {
    let mut bytes = read_at_most(path, LARGEST)?;
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    let refused = |text| io::Error::new(io::ErrorKind::InvalidData, text);
    // ASCII in UTF-16 without a byte order mark is UTF-8, too.
    if bytes.contains(&0) {
        return Err(refused(
            "it has null characters, as UTF-16 and binary files do: save it as UTF-8",
        ));
    }
    // The error of `String` holds the text.
    String::from_utf8(bytes).map_err(|_| {
        refused("it is not UTF-8 (editors of Windows may write UTF-16): save it as UTF-8")
    })
}

impl IntoIterator for SpecFile {
    type Item = ClientSpec;
    type IntoIter = vec::IntoIter<ClientSpec>;

    fn into_iter(self) -> Self::IntoIter {
        let specs: Vec<_> = self.entries.into_iter().flatten().collect();
        specs.into_iter()
    }
}
