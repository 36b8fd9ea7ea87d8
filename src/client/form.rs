//! Specs from and to any format of serde: their data; functions are attached in code.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    client::{copies::Copies, spec::ClientSpec},
    spec::form::{Form, Written},
};

/// Of functions nothing is written. A fixed password is refused: without it what is written could
/// not log in, and with it it would be a secret.
impl Serialize for ClientSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Written::new(&self.settings, None).serialize(serializer)
    }
}

/// A single client: `times` is refused, [`Copies`] takes it.
impl<'de> Deserialize<'de> for ClientSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let copies = Copies::deserialize(deserializer)?;
        match copies.times {
            None => Ok(copies.spec),
            Some(_) => Err(de::Error::custom(
                "`times` makes more than one client of this",
            )),
        }
    }
}

/// As the spec, with `times`. The shard is not written: it belongs to a machine.
impl Serialize for Copies {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Written::new(&self.spec.settings, self.times).serialize(serializer)
    }
}

/// A template if there is a key `times`, else a single client.
impl<'de> Deserialize<'de> for Copies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let form = Form::deserialize(deserializer)?;
        let times = form.times;
        Ok(Self {
            spec: ClientSpec::of(form.into_settings()),
            times,
        })
    }
}
