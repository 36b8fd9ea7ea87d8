//! All that a client is to send, under one lock, and the bell that wakes its network thread.
//!
//! Nobody but the network thread writes to a connection. Whoever has something to send appends it
//! here. If the network thread sleeps inside rumqttc, the front item is handed to rumqttc's own
//! channel: that wakes the thread. This item is the *bell*. While a bell is out, others only
//! append; when the network thread has seen the bell go out, it takes the next item itself.
//! So there is never more than one item in rumqttc's channel, and what waits here is ours: it
//! survives a lost connection, which rumqttc's own queue does not.

use std::{collections::VecDeque, time::Instant};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::{publish::window::Window, spec::qos::QoS};

/// A message on its way out.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) topic: String,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) payload: Bytes,
}

/// A packet that is no PUBLISH. These go before publishes and are not bounded: there is at most
/// one for each received message, or one for each call of `subscribe`.
#[derive(Debug)]
pub(crate) enum Control {
    /// PUBACK for QoS 1, PUBREC for QoS 2.
    Acknowledge {
        packet_id: u16,
        qos: QoS,
    },
    Subscribe(Vec<(String, QoS)>),
    Unsubscribe(String),
    Disconnect,
}

#[derive(Debug)]
pub(crate) enum Item {
    Publish(Outgoing),
    Control(Control),
}

/// Hands one item to the connection and so wakes its thread. Never waits.
pub(crate) trait Bell: Send {
    /// Gives the item back if it was not taken.
    fn ring(&self, item: Item) -> Result<(), Item>;
}

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Full,
    Closed,
}

/// How long to wait for room.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Patience {
    None,
    /// `None` inside is for ever.
    Until(Option<Instant>),
}

/// What the network thread does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listener {
    /// It has no connection: nothing rings, messages wait.
    Away,
    /// It runs, or the bell that will wake it is out.
    Awake,
    /// It sleeps inside rumqttc, and nothing that would wake it is under way.
    Asleep,
    /// It stops or has ended: nothing is taken any more.
    Gone,
}

pub(crate) struct Outbox {
    capacity: usize,
    inner: Mutex<Inner>,
    /// Room for a publish, or no use waiting for it.
    room: Condvar,
}

struct Inner {
    listener: Listener,
    bell_out: bool,
    /// What the window admitted when the network thread last looked.
    publishes_admitted: bool,
    subscribes_admitted: bool,
    controls: VecDeque<Control>,
    publishes: VecDeque<Outgoing>,
    bell: Option<Box<dyn Bell>>,
}

impl Outbox {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            inner: Mutex::new(Inner {
                listener: Listener::Away,
                bell_out: false,
                publishes_admitted: true,
                subscribes_admitted: true,
                controls: VecDeque::new(),
                publishes: VecDeque::new(),
                bell: None,
            }),
            room: Condvar::new(),
        }
    }

    /// The network thread has built its connection's client.
    pub(crate) fn attach(&self, bell: Box<dyn Bell>) {
        self.inner.lock().bell = Some(bell);
    }

    /// Takes a message, or gives it back. Any thread.
    pub(crate) fn offer(
        &self,
        message: Outgoing,
        patience: Patience,
    ) -> Result<(), (Outgoing, Refusal)> {
        let mut inner = self.inner.lock();
        loop {
            if inner.listener == Listener::Gone {
                return Err((message, Refusal::Closed));
            }
            if inner.publishes.len() < self.capacity {
                break;
            }
            match patience {
                Patience::None => return Err((message, Refusal::Full)),
                Patience::Until(None) => self.room.wait(&mut inner),
                Patience::Until(Some(deadline)) => {
                    let timed_out = self.room.wait_until(&mut inner, deadline).timed_out();
                    if timed_out && inner.publishes.len() >= self.capacity {
                        return Err((message, Refusal::Full));
                    }
                }
            }
        }
        inner.publishes.push_back(message);
        self.ring_if_asleep(&mut inner);
        Ok(())
    }

    /// Takes a control item. Says whether there is a connection that it can go to.
    pub(crate) fn control(&self, control: Control) -> bool {
        let mut inner = self.inner.lock();
        if matches!(inner.listener, Listener::Away | Listener::Gone) {
            return false;
        }
        inner.controls.push_back(control);
        self.ring_if_asleep(&mut inner);
        true
    }

    /// Whether there is a connection that control items can go to.
    pub(crate) fn is_connected(&self) -> bool {
        let inner = self.inner.lock();
        !matches!(inner.listener, Listener::Away | Listener::Gone)
    }

    /// How many messages wait.
    pub(crate) fn len(&self) -> usize {
        self.inner.lock().publishes.len()
    }

    /// No message is taken any more; who waits for room is released, and the network thread is
    /// woken so that it can disconnect. The caller has raised the client's stop signal before.
    pub(crate) fn close(&self) {
        let mut inner = self.inner.lock();
        if inner.listener == Listener::Asleep {
            inner.controls.push_front(Control::Disconnect);
            self.ring_if_asleep(&mut inner);
        }
        inner.listener = Listener::Gone;
        self.room.notify_all();
    }

    /// There is a connection, and the network thread is awake on it.
    pub(crate) fn connected(&self) {
        let mut inner = self.inner.lock();
        if inner.listener == Listener::Away {
            inner.listener = Listener::Awake;
        }
    }

    /// The connection is lost. Acknowledgements and subscriptions belonged to it; messages stay.
    /// After this no bell rings, so that one that is out comes back with rumqttc's backlog.
    pub(crate) fn disconnected(&self) {
        let mut inner = self.inner.lock();
        if inner.listener != Listener::Gone {
            inner.listener = Listener::Away;
        }
        inner.bell_out = false;
        inner.controls.clear();
    }

    /// Puts back what rumqttc had taken but not sent, oldest first. It is older than all that
    /// waits here, and it was accepted: the capacity does not count.
    pub(crate) fn put_back(&self, unsent: Vec<Outgoing>) {
        let mut inner = self.inner.lock();
        for message in unsent.into_iter().rev() {
            inner.publishes.push_front(message);
        }
    }

    /// The network thread saw the bell go out.
    pub(crate) fn bell_heard(&self) {
        self.inner.lock().bell_out = false;
    }

    /// The network thread is about to sleep: hand over the next item, or note that it sleeps.
    /// Says whether it may: not once the outbox is closed.
    pub(crate) fn settle(&self, window: &Window) -> bool {
        let mut inner = self.inner.lock();
        if inner.listener == Listener::Gone {
            return false;
        }
        inner.publishes_admitted = window.admits_publish();
        inner.subscribes_admitted = window.admits_subscribe();
        if !inner.bell_out {
            inner.listener = Listener::Asleep;
            self.ring_if_asleep(&mut inner);
        }
        true
    }

    fn ring_if_asleep(&self, inner: &mut MutexGuard<'_, Inner>) {
        if inner.listener != Listener::Asleep {
            return;
        }
        let Some(item) = inner.take() else { return };
        let is_publish = matches!(item, Item::Publish(_));
        let rung = match &inner.bell {
            Some(bell) => bell.ring(item),
            None => Err(item),
        };
        match rung {
            Ok(()) => {
                inner.listener = Listener::Awake;
                inner.bell_out = true;
                if is_publish {
                    self.room.notify_one();
                }
            }
            // rumqttc's channel is never full while at most one item is in it. Should it refuse
            // all the same, nothing is lost: the next packet or ping wakes the thread.
            Err(Item::Publish(message)) => inner.publishes.push_front(message),
            Err(Item::Control(control)) => inner.controls.push_front(control),
        }
    }
}

impl Inner {
    /// The next item that the window admits. Acknowledgements never wait for the window.
    fn take(&mut self) -> Option<Item> {
        let waits =
            |control: &Control| matches!(control, Control::Subscribe(_) | Control::Unsubscribe(_));
        let admitted = match self.subscribes_admitted {
            true => Some(0),
            false => self.controls.iter().position(|control| !waits(control)),
        };
        if let Some(control) = admitted.and_then(|at| self.controls.remove(at)) {
            return Some(Item::Control(control));
        }
        let front = self.publishes.front()?;
        if front.qos != QoS::AtMostOnce && !self.publishes_admitted {
            // A QoS 0 message behind it waits too: order is kept.
            return None;
        }
        self.publishes.pop_front().map(Item::Publish)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use crossbeam_channel::{Receiver, Sender, unbounded};

    use super::*;
    use crate::supervise::thread::Thread;

    struct Recorder(Sender<Item>);

    impl Bell for Recorder {
        fn ring(&self, item: Item) -> Result<(), Item> {
            self.0.send(item).map_err(|error| error.0)
        }
    }

    fn outbox(capacity: usize) -> (Arc<Outbox>, Receiver<Item>) {
        let (rung, heard) = unbounded();
        let outbox = Arc::new(Outbox::new(capacity));
        outbox.attach(Box::new(Recorder(rung)));
        (outbox, heard)
    }

    fn message(topic: &str, qos: QoS) -> Outgoing {
        Outgoing {
            topic: topic.to_owned(),
            qos,
            retain: false,
            payload: Bytes::new(),
        }
    }

    fn topic(heard: &Receiver<Item>) -> String {
        match heard.try_recv() {
            Ok(Item::Publish(message)) => message.topic,
            Ok(Item::Control(control)) => format!("{control:?}"),
            Err(_) => "silence".to_owned(),
        }
    }

    #[test]
    fn one_bell_is_out_at_a_time_and_order_is_kept() {
        let (outbox, heard) = outbox(10);
        let window = Window::new(10);
        let offer = |topic| outbox.offer(message(topic, QoS::AtMostOnce), Patience::None);
        offer("before").unwrap();
        assert_eq!(
            topic(&heard),
            "silence",
            "nothing rings without a connection"
        );
        outbox.connected();
        assert!(outbox.settle(&window));
        assert_eq!(topic(&heard), "before");
        offer("second").unwrap();
        offer("third").unwrap();
        assert_eq!(topic(&heard), "silence", "a bell is out");
        outbox.bell_heard();
        assert!(outbox.settle(&window));
        assert_eq!(topic(&heard), "second");
        outbox.bell_heard();
        assert!(outbox.settle(&window));
        assert_eq!(topic(&heard), "third");
        outbox.bell_heard();
        assert!(outbox.settle(&window));
        offer("fourth").unwrap();
        assert_eq!(topic(&heard), "fourth", "it slept");
    }

    #[test]
    fn a_full_window_holds_publishes_and_not_acknowledgements() {
        let (outbox, heard) = outbox(10);
        let mut window = Window::new(1);
        window.published(1);
        outbox.connected();
        assert!(outbox.settle(&window));
        let offer = |topic, qos| outbox.offer(message(topic, qos), Patience::None).unwrap();
        offer("held", QoS::AtLeastOnce);
        offer("behind", QoS::AtMostOnce);
        assert_eq!(topic(&heard), "silence");
        assert!(outbox.control(Control::Acknowledge {
            packet_id: 7,
            qos: QoS::AtLeastOnce,
        }));
        assert!(topic(&heard).starts_with("Acknowledge"));
        outbox.bell_heard();
        window.acknowledged(1);
        assert!(outbox.settle(&window));
        assert_eq!(topic(&heard), "held");
    }

    #[test]
    fn a_full_outbox_refuses_or_waits_and_close_releases() {
        let (outbox, _heard) = outbox(1);
        outbox
            .offer(message("a", QoS::AtMostOnce), Patience::None)
            .unwrap();
        let (returned, refusal) = outbox
            .offer(message("b", QoS::AtMostOnce), Patience::None)
            .unwrap_err();
        assert_eq!((returned.topic.as_str(), refusal), ("b", Refusal::Full));
        let soon = Instant::now() + Duration::from_millis(5);
        let late = outbox.offer(message("c", QoS::AtMostOnce), Patience::Until(Some(soon)));
        assert_eq!(late.unwrap_err().1, Refusal::Full);

        let (released, result) = unbounded();
        let waiting = Arc::clone(&outbox);
        let mut waiter = Thread::spawn("waiter", 128 * 1024, move || {
            let offered = waiting.offer(message("d", QoS::AtMostOnce), Patience::Until(None));
            released.send(offered.unwrap_err().1).unwrap();
        })
        .unwrap();
        outbox.close();
        assert_eq!(result.recv(), Ok(Refusal::Closed));
        assert!(waiter.join_until(None));
    }

    #[test]
    fn closing_wakes_a_sleeping_thread_and_forbids_sleep() {
        let (outbox, heard) = outbox(1);
        let window = Window::new(1);
        outbox.connected();
        assert!(outbox.settle(&window));
        outbox.close();
        assert_eq!(topic(&heard), "Disconnect");
        assert!(!outbox.settle(&window));
    }
}
