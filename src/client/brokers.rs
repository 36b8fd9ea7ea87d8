//! The brokers of one client: which is tried next, where it is, and as whom.

use crate::{
    client::password,
    observe::cause::Cause,
    spec::{
        address::Address,
        credentials::{Credentials, check_login},
        settings::Settings,
    },
    supervise::panic::{Failed, call},
    transport::resolve::{Resolver, Target},
};

/// One of them.
#[derive(Debug)]
struct Candidate {
    resolver: Resolver,
    /// Those of its URL, used unless the spec names others.
    credentials: Credentials,
    /// It refused for good, and is left out until a stable connection has been lost.
    ruled_out: bool,
    /// It has sent a CONNACK.
    speaks_mqtt: bool,
}

/// The brokers of one client, tried in turn.
#[derive(Debug)]
pub(crate) struct Brokers {
    candidates: Vec<Candidate>,
    current: usize,
    /// Where the last connection was: the session is known to belong there.
    session_at: Option<usize>,
    /// What the spec names for all of them.
    credentials: Credentials,
}

impl Brokers {
    pub(crate) fn new(settings: &Settings) -> Self {
        let candidates = settings.brokers.iter().map(|broker| Candidate {
            resolver: Resolver::new(broker.address().clone()),
            credentials: broker.credentials.clone(),
            ruled_out: false,
            speaks_mqtt: false,
        });
        Self {
            candidates: candidates.collect(),
            current: 0,
            session_at: None,
            credentials: settings.credentials.clone(),
        }
    }

    /// The place of the current one in the spec's list.
    pub(crate) fn current(&self) -> usize {
        self.current
    }

    /// The current one's address, and ways to it that are worth an attempt. Blocks as long as the
    /// system's name service does.
    pub(crate) fn resolve(&mut self) -> Result<(Address, Vec<Target>), Cause> {
        match self.candidates.get_mut(self.current) {
            Some(candidate) => candidate.resolver.resolve(),
            // There always is a first one.
            None => Err(Cause::Closed),
        }
    }

    /// This way to the current one is tried now.
    pub(crate) fn trying(&mut self, target: &Target) {
        if let Some(candidate) = self.candidates.get_mut(self.current) {
            candidate.resolver.trying(target);
        }
    }

    /// The attempt at this way to the current one failed.
    pub(crate) fn failed(&mut self, target: &Target, cause: &Cause) {
        if let Some(candidate) = self.candidates.get_mut(self.current) {
            candidate.resolver.failed(target, cause);
        }
    }

    /// Whether the last attempt at the current one told it no name, although its URL has one.
    pub(crate) fn is_on_detour(&self) -> bool {
        let candidate = self.candidates.get(self.current);
        candidate.is_some_and(|candidate| candidate.resolver.is_on_detour())
    }

    /// User name and password for the current one.
    pub(crate) fn login(&self) -> Result<Option<(String, String)>, Cause> {
        let of_url = self.candidates.get(self.current);
        let credentials = match (&self.credentials, of_url) {
            (Credentials::Anonymous, Some(candidate)) => &candidate.credentials,
            (of_spec, _) => of_spec,
        };
        let no_credentials = |message| Cause::Credentials { message };
        match credentials {
            Credentials::Anonymous => Ok(None),
            Credentials::Fixed { username, password } => {
                Ok(Some((username.clone(), password.clone())))
            }
            Credentials::Stored { username, place } => match password::read(username, place) {
                Ok(password) => Ok(Some((username.clone(), password))),
                Err(message) => Err(no_credentials(message)),
            },
            Credentials::Asked(ask) => match call(|| ask()) {
                Ok((username, password)) => match check_login(&username, &password) {
                    Ok(()) => Ok(Some((username, password))),
                    Err(problem) => Err(no_credentials(problem.to_owned())),
                },
                Err(Failed { text, .. }) => Err(no_credentials(text)),
            },
        }
    }

    /// CONNACK came. Says whether a session that the broker has can be the one of the last
    /// connection: another broker may have an older one under the same client id.
    pub(crate) fn connected(&mut self) -> bool {
        if let Some(candidate) = self.candidates.get_mut(self.current) {
            candidate.speaks_mqtt = true;
        }
        self.session_at.replace(self.current) == Some(self.current)
    }

    /// Whether the current one has ever sent a CONNACK.
    pub(crate) fn speaks_mqtt(&self) -> bool {
        let candidate = self.candidates.get(self.current);
        candidate.is_some_and(|candidate| candidate.speaks_mqtt)
    }

    /// The next attempt goes to the next one.
    pub(crate) fn turn(&mut self) {
        let n = self.candidates.len();
        let next = (1..=n).map(|step| (self.current + step) % n).find(|next| {
            let candidate = self.candidates.get(*next);
            candidate.is_some_and(|candidate| !candidate.ruled_out)
        });
        self.current = next.unwrap_or(self.current);
    }

    /// The current one refused for good. Says whether another one is left.
    pub(crate) fn rule_out(&mut self) -> bool {
        if let Some(candidate) = self.candidates.get_mut(self.current) {
            candidate.ruled_out = true;
        }
        self.candidates.iter().any(|candidate| !candidate.ruled_out)
    }

    /// A stable connection was lost: the outage begins with the first one, and with all of them;
    /// of this one's addresses, with the one that it was at.
    pub(crate) fn lost_stable(&mut self) {
        if let Some(candidate) = self.candidates.get_mut(self.current) {
            candidate.resolver.was_stable();
        }
        self.current = 0;
        for candidate in &mut self.candidates {
            candidate.ruled_out = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Brokers {
        let mut settings = Settings::new("a".into());
        settings.brokers = ["mqtt://u0:p@h0", "mqtt://h1", "mqtt://u2:p@h2"]
            .map(|url| url.parse().unwrap())
            .into();
        Brokers::new(&settings)
    }

    #[test]
    fn they_are_tried_in_turn_and_begun_anew_after_a_stable_connection() {
        let mut brokers = three();
        let order: Vec<_> = (0..4)
            .map(|_| {
                let current = brokers.current();
                brokers.turn();
                current
            })
            .collect();
        assert_eq!(order, [0, 1, 2, 0]);
        brokers.lost_stable();
        assert_eq!(brokers.current(), 0);
    }

    #[test]
    fn who_refused_is_left_out_until_a_stable_connection_is_lost() {
        let mut brokers = three();
        brokers.turn();
        assert!(brokers.rule_out());
        brokers.turn();
        assert_eq!(brokers.current(), 2);
        assert!(brokers.rule_out());
        brokers.turn();
        assert_eq!(brokers.current(), 0);
        brokers.turn();
        assert_eq!(brokers.current(), 0);
        assert!(!brokers.rule_out());
        brokers.lost_stable();
        brokers.turn();
        assert_eq!(brokers.current(), 1);
    }

    #[test]
    fn each_url_has_its_own_credentials() {
        let mut brokers = three();
        let users: Vec<_> = (0..3)
            .map(|_| {
                let login = brokers.login().unwrap();
                brokers.turn();
                login.map(|(user, _)| user)
            })
            .collect();
        assert_eq!(users, [Some("u0".to_owned()), None, Some("u2".to_owned())]);
    }

    #[test]
    fn a_session_is_known_where_the_last_connection_was() {
        let mut brokers = three();
        assert!(!brokers.connected());
        assert!(brokers.connected());
        brokers.turn();
        assert!(!brokers.connected());
        brokers.lost_stable();
        assert!(!brokers.connected());
    }
}
