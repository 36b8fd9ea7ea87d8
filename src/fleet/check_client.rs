//! What one client may be: its settings and its functions, each by itself.

use std::time::Duration;

use crate::{
    client::{password, spec::ClientSpec},
    fleet::error::{Checked, LONGEST, Problem, at, duration, in_range},
    session::packet::packet_size,
    spec::{
        credentials::{Credentials, PasswordPlace},
        qos::QoS,
        settings::{Session, Settings},
        template,
        tls::TlsError,
        topic::{check_filter, check_topic},
    },
};

pub(super) fn check_identity(settings: &Settings) -> Checked {
    if settings.session == Session::Kept && settings.client_id.is_none() {
        return Err((
            "session",
            Problem::Text("a kept session needs a client id that stays the same: set client_id"),
        ));
    }
    Ok(())
}

pub(super) fn check_settings(settings: &Settings) -> Checked {
    let name = &settings.name;
    if name.is_empty() || name.contains('\0') {
        return Err(("name", Problem::Text("it is empty or has a null character")));
    }
    if template::has_name(name) {
        let problem = "{name} in it would stand for the name itself";
        return Err(("name", Problem::Text(problem)));
    }
    if let Some((setter, error)) = &settings.broker_error {
        return Err((setter, error.clone().into()));
    }
    if settings.tls.is_some() && !settings.is_encrypted() {
        // Or its user would believe it to be encrypted.
        return Err(("tls", TlsError::NotUsed.into()));
    }
    let id = settings.client_id.as_deref().unwrap_or_default();
    if id.is_empty() || id.len() > usize::from(u16::MAX) || id.contains('\0') {
        let problem = "it must have 1 to 65,535 bytes and no null character";
        return Err(("client_id", Problem::Text(problem)));
    }
    for (filter, _) in &settings.subscriptions {
        at("subscribe", check_filter(filter))?;
        if filter.len() + 10 > settings.max_packet_size {
            let problem = "the filter exceeds the packet size limit";
            return Err(("subscribe", Problem::Text(problem)));
        }
    }
    if let Some(will) = &settings.will {
        at("will", check_topic(&will.topic))?;
        // Its length field has two bytes (section 3.1.3.3).
        let bytes = 0..=usize::from(u16::MAX);
        in_range(
            "will",
            will.payload.len(),
            bytes,
            "a payload of at most 65,535 bytes",
        )?;
    }
    // Protocol name, flags, keep alive, and a length field for each text (section 3.1).
    let will = settings
        .will
        .as_ref()
        .map_or(0, |will| 4 + will.topic.len() + will.payload.len());
    let login = settings
        .brokers
        .iter()
        .map(|broker| &broker.credentials)
        .chain([&settings.credentials])
        .map(|credentials| match credentials {
            Credentials::Fixed { username, password } => 4 + username.len() + password.len(),
            _ => 0,
        })
        .max()
        .unwrap_or_default();
    let sizes = 128..=268_435_455;
    in_range(
        "max_packet_size",
        settings.max_packet_size,
        sizes,
        "128 to 268,435,455 bytes",
    )?;
    let connect = 15 + 2 + id.len() + will + login;
    let allowed = "the CONNECT packet with client id, will and credentials must fit";
    in_range(
        "max_packet_size",
        settings.max_packet_size,
        connect..=usize::MAX,
        allowed,
    )?;
    if let Some(birth) = &settings.birth {
        at("birth", check_topic(&birth.topic))?;
        let size = packet_size(birth.topic.len(), QoS::ExactlyOnce, birth.payload.len());
        in_range(
            "birth",
            size,
            0..=settings.max_packet_size,
            "at most max_packet_size",
        )?;
    }
    check_login(settings)?;
    check_numbers(settings)
}

/// Whether user names and passwords fit into CONNECT, and whether a password is where it is said to be, so that
/// a wrong place is reported at start.
fn check_login(settings: &Settings) -> Checked {
    let (username, place) = match &settings.credentials {
        Credentials::Stored { username, place } => (username, place),
        // Those of the URLs are what the client logs in with.
        Credentials::Anonymous => {
            let fields = std::iter::once("broker").chain(std::iter::repeat("or_broker"));
            for (field, broker) in fields.zip(&settings.brokers) {
                at(field, broker.credentials.check().map_err(Problem::Text))?;
            }
            return Ok(());
        }
        given => return at("credentials", given.check().map_err(Problem::Text)),
    };
    let field = match place {
        PasswordPlace::Env(_) => "password_env",
        PasswordPlace::File(_) => "password_file",
    };
    at(field, settings.credentials.check().map_err(Problem::Text))?;
    at(
        field,
        password::read(username, place).map_err(Problem::Password),
    )
}

fn check_numbers(settings: &Settings) -> Checked {
    let second = Duration::from_secs(1);
    let keep_alive = second..=second * u32::from(u16::MAX);
    duration(
        "keep_alive",
        settings.keep_alive,
        keep_alive,
        "1 s to 65,535 s, in whole seconds",
    )?;
    if settings.keep_alive.subsec_nanos() != 0 {
        // CONNECT carries whole seconds: pings would come later than the broker expects them.
        return Err(("keep_alive", Problem::Text("it must be whole seconds")));
    }
    duration(
        "connect_timeout",
        settings.connect_timeout,
        second..=LONGEST,
        "1 s to a year",
    )?;
    in_range(
        "outbox_capacity",
        settings.outbox.capacity,
        1..=usize::MAX,
        "at least 1",
    )?;
    in_range(
        "filters_per_subscribe",
        settings.filters_per_subscribe,
        1..=u16::MAX,
        "1 to 65,535",
    )?;
    in_range("window", settings.outbox.window, 1..=10_000, "1 to 10,000")?;
    if let Some(age) = settings.outbox.max_age {
        duration(
            "max_age",
            age,
            Duration::from_millis(1)..=LONGEST,
            "1 ms to a year",
        )?;
    }
    let retry = &settings.retry;
    if let Some(attempts) = retry.attempts {
        in_range("retry", attempts, 1..=u32::MAX, "at least one attempt")?;
    }
    for pause in [retry.shortest, retry.longest, retry.stable_after] {
        duration("retry", pause, Duration::ZERO..=LONGEST, "at most a year")?;
    }
    if retry.shortest > retry.longest {
        return Err((
            "retry",
            Problem::Text("its shortest pause exceeds its longest"),
        ));
    }
    Ok(())
}

pub(super) fn check_functions(spec: &ClientSpec) -> Checked {
    for (filter, _) in &spec.handlers {
        at("on_message", check_filter(filter))?;
    }
    let intervals = Duration::from_micros(1)..=LONGEST;
    for periodic in &spec.periodic {
        let allowed = "1 us to a year";
        duration(
            "publish_every",
            periodic.interval,
            intervals.clone(),
            allowed,
        )?;
    }
    Ok(())
}
