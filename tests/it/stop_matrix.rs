//! `stop(1 s)` in every state: it returns in time, and nothing is left but what it names, and that only for
//! as long as a connect may take.

use std::net::TcpListener;
use std::time::Duration;

use mqtt_fleet::testing::{ConnectReply, Packet, TestBroker};
use mqtt_fleet::{ClientSpec, ClientState, Fleet, PublishErrorKind, QoS, Retry, Tls};

use crate::support::certificates::Certificates;
use crate::support::fleet::{PATIENCE, n_from, quick_retry, wait_connects};
use crate::support::proc;
use crate::support::stopping::{
    Left, NAME, Scene, client, started, stop_each, subscribed, wait_state,
};

/// One client that is connected, without subscriptions.
fn connected(broker: &TestBroker) -> Fleet {
    subscribed(Fleet::builder().client(client(broker)))
}

/// Publishes until the outbox takes no more.
fn fill(fleet: &Fleet, qos: QoS, payload: &'static [u8]) {
    let client = fleet.client(NAME).unwrap();
    proc::wait_until("the outbox is full", PATIENCE, || {
        let error = client.try_publish("out", qos, false, payload).err();
        error.is_some_and(|error| error.kind() == PublishErrorKind::Full)
    });
}

fn starting(broker: &TestBroker) -> Scene {
    let fleet = started(Fleet::builder().client(client(broker)));
    Scene::new(fleet, Left::Nothing)
}

/// A client at a listener that takes connections and says nothing.
fn unanswered(scheme: &str, change: impl FnOnce(ClientSpec) -> ClientSpec) -> Scene {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("{scheme}://{}", listener.local_addr().unwrap());
    let spec = change(ClientSpec::new(NAME, url).connect_timeout(Duration::from_secs(1)));
    let fleet = started(Fleet::builder().client(spec));
    wait_state(&fleet, |it| matches!(it, ClientState::Connecting { .. }));
    let mut scene = Scene::new(fleet, Left::Perhaps(NAME));
    // It has come as far as it can: what it says first is what nobody answers.
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(stream.peek(&mut [0]).unwrap(), 1);
    scene.peer = Some(Box::new((listener, stream)));
    scene
}

fn nobody_answers(_broker: &TestBroker) -> Scene {
    unanswered("mqtt", |spec| spec)
}

fn upgrade_never(_broker: &TestBroker) -> Scene {
    unanswered("ws", |spec| spec)
}

fn handshake_never(scheme: &str) -> Scene {
    let made = Certificates::new();
    let tls = Tls::ca_file(made.authority("ca").file);
    let scene = unanswered(scheme, |spec| spec.tls(tls));
    drop(made); // Its files were read at the start.
    scene
}

fn tls_handshake_never(_broker: &TestBroker) -> Scene {
    handshake_never("mqtts")
}

fn tls_handshake_of_websocket_never(_broker: &TestBroker) -> Scene {
    handshake_never("wss")
}

fn connack_never(broker: &TestBroker) -> Scene {
    broker.on_connect(ConnectReply::Never);
    let fleet = started(Fleet::builder().client(client(broker)));
    wait_connects(broker, NAME, 1);
    Scene::new(fleet, Left::Perhaps(NAME))
}

fn connack_late(broker: &TestBroker) -> Scene {
    broker.on_connect(ConnectReply::Delay(Duration::from_millis(300)));
    let fleet = started(Fleet::builder().client(client(broker)));
    wait_connects(broker, NAME, 1);
    Scene::new(fleet, Left::Nothing)
}

fn idle(broker: &TestBroker) -> Scene {
    Scene::new(connected(broker), Left::Nothing)
}

fn suback_pending(broker: &TestBroker) -> Scene {
    broker.never_suback(true);
    let spec = client(broker).subscribe("any", QoS::AtLeastOnce);
    let fleet = started(Fleet::builder().client(spec));
    let came = || n_from(broker, NAME, |it| matches!(it, Packet::Subscribe { .. })) == 1;
    broker.wait_for(|_| came(), PATIENCE).unwrap();
    Scene::new(fleet, Left::Nothing)
}

fn opening_unfinished(broker: &TestBroker) -> Scene {
    let mut spec = client(broker).birth("births", QoS::AtLeastOnce, false, "online");
    for n in 0..5_000 {
        let filter = format!("a/rather/long/filter/that/fills/the/packet/{n}/#");
        spec = spec.subscribe(filter, QoS::AtLeastOnce);
    }
    let fleet = started(Fleet::builder().client(spec));
    fleet.wait_connected(PATIENCE).unwrap();
    Scene::new(fleet, Left::Nothing)
}

fn silent_peer(broker: &TestBroker) -> Scene {
    let fleet = connected(broker);
    broker.wait_connected(1, PATIENCE).unwrap();
    assert!(broker.silence(NAME));
    Scene::new(fleet, Left::Nothing)
}

fn pausing(broker: &TestBroker) -> Scene {
    broker.on_connect(ConnectReply::Close);
    let hours = Duration::from_secs(360_000);
    let spec = client(broker).retry(Retry::forever().pause(hours..=hours));
    let fleet = started(Fleet::builder().client(spec));
    wait_state(&fleet, |it| matches!(it, ClientState::AttemptFailed { .. }));
    Scene::new(fleet, Left::Nothing)
}

fn waiting_for_a_turn(broker: &TestBroker) -> Scene {
    let specs = (0..4).map(|n| {
        let name = format!("{NAME}-{n}");
        ClientSpec::new(&name, broker.url()).client_id(&name)
    });
    let fleet = started(Fleet::builder().clients(specs).connect_rate(1));
    let first = broker.wait_for(|_| broker.connects_total() > 0, PATIENCE);
    first.unwrap();
    Scene::new(fleet, Left::Nothing)
}

fn already_ended(broker: &TestBroker) -> Scene {
    broker.on_connect(ConnectReply::Code(5));
    let fleet = started(Fleet::builder().client(client(broker).retry(quick_retry(1))));
    fleet.wait_ended(PATIENCE).unwrap();
    Scene::new(fleet, Left::Nothing)
}

fn already_stopped(broker: &TestBroker) -> Scene {
    let fleet = connected(broker);
    assert!(fleet.stop(PATIENCE).abandoned().is_empty());
    Scene::new(fleet, Left::Nothing)
}

/// Fails if a state of the connection holds the stop up, or leaves a thread, a descriptor or a CONNECT.
#[test]
fn in_every_state_of_the_connection() {
    proc::alone("stop_matrix::in_every_state_of_the_connection", || {
        stop_each(&[
            ("starting", starting),
            ("nobody answers", nobody_answers),
            ("upgrade to WebSocket never", upgrade_never),
            ("TLS handshake never", tls_handshake_never),
            (
                "TLS handshake of a WebSocket never",
                tls_handshake_of_websocket_never,
            ),
            ("CONNACK never", connack_never),
            ("CONNACK late", connack_late),
            ("idle", idle),
            ("SUBACK pending", suback_pending),
            ("opening unfinished", opening_unfinished),
            ("silent peer", silent_peer),
            ("pausing", pausing),
            ("waiting for a turn", waiting_for_a_turn),
            ("already ended", already_ended),
            ("already stopped", already_stopped),
        ]);
    });
}

fn window_full(broker: &TestBroker) -> Scene {
    broker.hold_acks(true);
    let spec = client(broker).window(5).outbox_capacity(20);
    let fleet = subscribed(Fleet::builder().client(spec));
    fill(&fleet, QoS::AtLeastOnce, b"payload");
    let came = || broker.published("out").len() == 5;
    broker.wait_for(|_| came(), PATIENCE).unwrap();
    Scene::new(fleet, Left::Nothing)
}

fn publisher_blocked(broker: &TestBroker) -> Scene {
    let mut scene = window_full(broker);
    scene.meanwhile = Some(|fleet, _, begun| {
        let client = fleet.client(NAME).unwrap();
        begun.send(()).unwrap();
        let error = client.publish("out", QoS::ExactlyOnce, false, "blocked");
        assert_eq!(error.unwrap_err().kind(), PublishErrorKind::Ended);
    });
    scene
}

/// A flood that lasts until the client has ended.
fn flood(fleet: &Fleet, broker: &TestBroker, qos: QoS) {
    let client = fleet.client(NAME).unwrap();
    while client.outcome().is_none() && !broker.connected().is_empty() {
        for _ in 0..100 {
            broker.publish("in", qos, false, "message").unwrap();
        }
    }
}

fn flooded(broker: &TestBroker) -> Fleet {
    let spec = client(broker).subscribe("in", QoS::AtLeastOnce);
    let builder = Fleet::builder().client(spec);
    subscribed(builder.on_message("in", |_, _| Ok(())).workers(1))
}

fn is_receiving(fleet: &Fleet) -> bool {
    fleet.stats().received > 100
}

fn flood_at_qos0(broker: &TestBroker) -> Scene {
    let mut scene = Scene::new(flooded(broker), Left::Nothing);
    scene.meanwhile = Some(|fleet, broker, begun| {
        begun.send(()).unwrap();
        flood(fleet, broker, QoS::AtMostOnce);
    });
    scene.is_ready = is_receiving;
    scene
}

fn flood_at_qos1(broker: &TestBroker) -> Scene {
    let mut scene = flood_at_qos0(broker);
    scene.meanwhile = Some(|fleet, broker, begun| {
        begun.send(()).unwrap();
        flood(fleet, broker, QoS::AtLeastOnce);
    });
    scene
}

fn reader_stalled(broker: &TestBroker) -> Scene {
    let spec = client(broker).outbox_capacity(2);
    let fleet = subscribed(Fleet::builder().client(spec));
    assert!(broker.stop_reading(NAME));
    fill_at_once(&fleet);
    Scene::new(fleet, Left::Perhaps(NAME))
}

/// Until the socket takes no more: the outbox stays full.
fn fill_at_once(fleet: &Fleet) {
    let client = fleet.client(NAME).unwrap();
    let (payload, patience) = (vec![0; 200 * 1024], Duration::from_millis(300));
    let offer = || client.publish_timeout("out", QoS::AtMostOnce, false, payload.clone(), patience);
    assert!((0..1_000).any(|_| offer().is_err()), "it is full");
}

fn draining(broker: &TestBroker) -> Scene {
    let mut scene = window_full(broker);
    scene.meanwhile = Some(|fleet, _, begun| {
        begun.send(()).unwrap();
        fleet.stop_draining(PATIENCE);
    });
    scene.is_ready = |fleet| {
        let client = fleet.client(NAME).unwrap();
        let error = client.try_publish("out", QoS::AtMostOnce, false, "").err();
        error.is_some_and(|error| error.kind() != PublishErrorKind::Full)
    };
    scene
}

/// Fails if what is under way holds the stop up, or a thread that publishes, drains or floods meanwhile.
#[test]
fn whatever_is_under_way() {
    proc::alone("stop_matrix::whatever_is_under_way", || {
        stop_each(&[
            ("window full", window_full),
            ("publisher blocked", publisher_blocked),
            ("flood at QoS 0", flood_at_qos0),
            ("flood at QoS 1", flood_at_qos1),
            ("reader stalled", reader_stalled),
            ("draining", draining),
        ]);
    });
}
