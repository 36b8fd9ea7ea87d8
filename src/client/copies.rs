//! The copies of a template, and which of them run on this machine.

use std::sync::Arc;

use crate::{client::spec::ClientSpec, spec::template};

/// What [`ClientSpec::times`] makes of a spec: its copies, to be given to
/// [`FleetBuilder::clients`](crate::FleetBuilder::clients).
///
/// In copy `i` of `n`, `{i}` is filled in with `i`, and its pub functions are called for the first
/// time `i / n` of their interval after its first connection.
///
/// ```
/// use mqtt_fleet::ClientSpec;
///
/// let devices = || ClientSpec::new("dev-{i}", "mqtt://10.0.0.5").times(5);
/// assert_eq!(devices().len(), 5);
/// // Two machines that start the same fleet:
/// let names = |k| -> Vec<String> {
///     devices().shard(k, 2).into_iter().map(|spec| spec.name().to_owned()).collect()
/// };
/// assert_eq!(names(0), ["dev-0", "dev-2", "dev-4"]);
/// assert_eq!(names(1), ["dev-1", "dev-3"]);
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Copies {
    pub(crate) spec: ClientSpec,
    /// `None`: no template but a client of its own, whose texts stay as they are. Only files have
    /// those.
    pub(crate) times: Option<usize>,
}

impl ClientSpec {
    /// Makes this spec a template: `n` copies, with `{i}` from 0 to n-1 filled in, in every text of the spec
    /// and in the filters of its handlers. The name needs it, or the copies would share one. [`Copies::shard`]
    /// divides them among machines; more than 1,000,000 on one of them are refused at the start.
    pub fn times(self, n: usize) -> Copies {
        Copies {
            spec: self,
            times: Some(n),
        }
    }
}

impl Copies {
    /// Leaves the part of machine `k` of `of` machines, counted from 0, that run the copies between
    /// them. `{i}` counts over all machines, so that names and client ids differ everywhere, and each
    /// machine has every `of`-th copy, so that its pub functions are still spread over their interval.
    ///
    /// A `k` that is not below `of` is refused at the start. Defaults to `shard(0, 1)`: all of them.
    pub fn shard(mut self, k: usize, of: usize) -> Self {
        self.spec.shard = (k, of);
        self
    }

    /// Changes what the copies are made of: attaches functions to what came from a file.
    ///
    /// ```
    /// use std::time::Duration;
    /// use mqtt_fleet::{ClientSpec, QoS};
    ///
    /// let devices = ClientSpec::new("dev-{i}", "mqtt://10.0.0.5").times(20).attach(|spec| {
    ///     spec.publish_every(Duration::from_secs(1), |client| {
    ///         client.try_publish("up", QoS::AtMostOnce, false, client.name().to_owned())?;
    ///         Ok(())
    ///     })
    /// });
    /// # let _ = devices;
    /// ```
    pub fn attach(mut self, change: impl FnOnce(ClientSpec) -> ClientSpec) -> Self {
        let shard = self.spec.shard;
        self.spec = change(self.spec);
        self.spec.shard = shard;
        self
    }

    /// The name of the template, its placeholders not filled in.
    pub fn name(&self) -> &str {
        self.spec.name()
    }

    /// How many copies this machine has. More than 1,000,000 are refused at the start.
    pub fn len(&self) -> usize {
        self.numbers().len()
    }

    /// Whether this machine has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The most copies of one template on one machine.
    pub(crate) const MOST: usize = 1_000_000;

    fn numbers(&self) -> std::iter::StepBy<std::ops::Range<usize>> {
        let n = self.times.unwrap_or(1);
        match self.spec.shard {
            (k, of) if k < of => (k.min(n)..n).step_by(of),
            // All of them, so that there is somebody whom the start can refuse.
            _ => (0..n).step_by(1),
        }
    }

    fn copy(&self, i: usize) -> ClientSpec {
        let spec = &self.spec;
        let Some(n) = self.times else {
            return spec.clone();
        };
        ClientSpec {
            settings: spec.settings.numbered(i),
            handlers: spec
                .handlers
                .iter()
                .map(|(filter, handler)| (template::number(filter, i), Arc::clone(handler)))
                .collect(),
            periodic: spec.periodic.clone(),
            copy: (i, n),
            shard: spec.shard,
        }
    }
}

impl IntoIterator for Copies {
    type Item = ClientSpec;
    type IntoIter = std::vec::IntoIter<ClientSpec>;

    fn into_iter(self) -> Self::IntoIter {
        let n = match self.len() {
            // One of them, for the start to refuse: a list of all would end the process.
            n if n > Self::MOST => 1,
            n => n,
        };
        let copies: Vec<_> = self.numbers().take(n).map(|i| self.copy(i)).collect();
        copies.into_iter()
    }
}
