//! The check of everything, before any thread: each rule names the client and the field.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use crate::{
    client::{copies::Copies, password, spec::ClientSpec},
    fleet::{
        builder::{FleetBuilder, LEAST_STACK},
        error::{Checked, LONGEST, Problem, StartError, at, duration, in_range},
    },
    session::packet::packet_size,
    spec::{
        address::Listener,
        credentials::{Credentials, PasswordPlace},
        qos::QoS,
        settings::{Session, Settings},
        template,
        tls::TlsError,
        topic::{check_filter, check_topic},
    },
};

/// Checks a builder. What comes out has its placeholders filled in.
pub(crate) fn check(builder: &FleetBuilder) -> Result<Vec<ClientSpec>, StartError> {
    check_fleet(builder).map_err(|(field, problem)| StartError::Fleet { field, problem })?;
    if builder.specs.is_empty() {
        return Err(StartError::NoClient);
    }
    let run = fastrand::u64(..);
    let mut specs = Vec::with_capacity(builder.specs.len());
    let mut names = HashSet::new();
    let mut ids: HashMap<(Listener, String), String> = HashMap::new();
    for spec in &builder.specs {
        let fault = |(field, problem)| StartError::Client {
            client: spec.settings.name.clone(),
            field,
            problem,
        };
        check_shard(spec.shard).map_err(fault)?;
        // Such a template gives its first copy only.
        let copies = spec.copy.1 / spec.shard.1;
        in_range(
            "times",
            copies,
            0..=Copies::MOST,
            "at most 1,000,000 copies on a machine",
        )
        .map_err(fault)?;
        // With which session a client id was given is seen before one is made up.
        check_identity(&spec.settings).map_err(fault)?;
        let mut spec = spec.clone();
        for (filter, _) in &mut spec.handlers {
            *filter = template::name(filter, &spec.settings.name);
        }
        spec.settings = spec.settings.named(run);
        check_data(&spec.settings).map_err(fault)?;
        check_functions(&spec).map_err(fault)?;
        let settings = &spec.settings;
        if !names.insert(settings.name.clone()) {
            let problem = Problem::Duplicate {
                value: settings.name.clone(),
                other: settings.name.clone(),
            };
            return Err(fault(("name", problem)));
        }
        let id = settings.client_id.clone().unwrap_or_default();
        for broker in &settings.brokers {
            let key = (broker.address().listener(), id.clone());
            // The broker would end the one when the other connects [MQTT-3.1.4-2]. One client may
            // name a broker twice, with other credentials.
            match ids.insert(key, settings.name.clone()) {
                Some(other) if other != settings.name => {
                    return Err(fault((
                        "client_id",
                        Problem::Duplicate { value: id, other },
                    )));
                }
                _ => {}
            }
        }
        specs.push(spec);
    }
    Ok(specs)
}

fn check_fleet(builder: &FleetBuilder) -> Checked {
    for (filter, _) in &builder.handlers {
        at("on_message", check_filter(filter))?;
        if template::has_name(filter) || template::has_number(filter) {
            let problem = "a handler of the fleet has no {i} and no {name}: write '+', or attach it to the client";
            return Err(("on_message", Problem::Text(problem)));
        }
    }
    let handlers =
        !builder.handlers.is_empty() || builder.specs.iter().any(|spec| !spec.handlers.is_empty());
    match builder.workers {
        Some(0) if handlers => {
            return Err((
                "workers",
                Problem::Text("handlers need at least one worker"),
            ));
        }
        Some(1..) if !handlers => {
            return Err((
                "workers",
                Problem::Text("there is no handler: workers would take messages and do nothing"),
            ));
        }
        Some(workers) => in_range("workers", workers, 0..=100_000, "0 to 100,000")?,
        None => {}
    }
    in_range(
        "queue_capacity",
        builder.queue_capacity,
        1..=usize::MAX,
        "at least 1",
    )?;
    in_range(
        "queue_bytes",
        builder.queue_bytes,
        1..=usize::MAX,
        "at least 1",
    )?;
    let repeat = builder.on_failure.repeat();
    for pause in [repeat.shortest, repeat.longest] {
        duration(
            "on_failure",
            pause,
            Duration::ZERO..=LONGEST,
            "at most a year",
        )?;
    }
    if repeat.shortest > repeat.longest {
        let problem = "its first pause exceeds its longest";
        return Err(("on_failure", Problem::Text(problem)));
    }
    if let Some(rate) = builder.connect_rate {
        in_range("connect_rate", rate, 1..=u32::MAX, "at least 1")?;
    }
    in_range("publishers", builder.publishers, 1..=1_000, "1 to 1,000")?;
    let most = 1024 * 1024 * 1024;
    let allowed = match LEAST_STACK {
        0..=131_072 => "131,072 to 1,073,741,824 bytes (128 KiB to 1 GiB)",
        _ => {
            "524,288 to 1,073,741,824 bytes (512 KiB to 1 GiB), with the features tls or websocket"
        }
    };
    in_range(
        "stack_size",
        builder.stack_size,
        LEAST_STACK..=most,
        allowed,
    )?;
    in_range(
        "worker_stack_size",
        builder.worker_stack_size,
        128 * 1024..=most,
        "131,072 to 1,073,741,824 bytes (128 KiB to 1 GiB)",
    )
}

fn check_identity(settings: &Settings) -> Checked {
    if settings.session == Session::Kept && settings.client_id.is_none() {
        return Err((
            "session",
            Problem::Text("a kept session needs a client id that stays the same: set client_id"),
        ));
    }
    Ok(())
}

fn check_shard((k, of): (usize, usize)) -> Checked {
    if k < of {
        return Ok(());
    }
    let problem = Problem::OutOfRange {
        given: format!("{k} of {of}"),
        allowed: "shards are counted from 0 to one less than there are",
    };
    Err(("shard", problem))
}

fn check_data(settings: &Settings) -> Checked {
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

fn check_functions(spec: &ClientSpec) -> Checked {
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
