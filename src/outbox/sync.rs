//! The outbox's lock and condition variables: parking_lot's, or for the model check (`tests/parking.rs`)
//! those of the model checker, which decides at each of them which thread goes on.

#[cfg(not(all(test, model_check)))]
pub(super) use parking_lot::{Condvar, Mutex, MutexGuard};

#[cfg(all(test, model_check))]
pub(super) use checked::{Condvar, Mutex, MutexGuard};

/// shuttle's, with parking_lot's signatures. A panic ends the check, so that poisoning does not matter.
#[cfg(all(test, model_check))]
mod checked {
    use std::{
        ops::{Deref, DerefMut},
        sync::PoisonError,
        time::{Duration, Instant},
    };

    use shuttle::sync;

    pub(in crate::outbox) struct Mutex<T>(sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(in crate::outbox) fn new(value: T) -> Self {
            Self(sync::Mutex::new(value))
        }

        pub(in crate::outbox) fn lock(&self) -> MutexGuard<'_, T> {
            let guard = self.0.lock();
            MutexGuard(Some(guard.unwrap_or_else(PoisonError::into_inner)))
        }

        pub(in crate::outbox) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok().map(|guard| MutexGuard(Some(guard)))
        }
    }

    /// It is empty inside of [`Condvar::wait`] only.
    pub(in crate::outbox) struct MutexGuard<'a, T>(Option<sync::MutexGuard<'a, T>>);

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.0.as_ref().unwrap()
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.0.as_mut().unwrap()
        }
    }

    pub(in crate::outbox) struct Condvar(sync::Condvar);

    /// No wait of the model checker's ever times out.
    pub(in crate::outbox) struct Woken;

    impl Woken {
        pub(in crate::outbox) fn timed_out(&self) -> bool {
            false
        }
    }

    impl Condvar {
        pub(in crate::outbox) fn new() -> Self {
            Self(sync::Condvar::new())
        }

        pub(in crate::outbox) fn notify_one(&self) {
            self.0.notify_one();
        }

        pub(in crate::outbox) fn notify_all(&self) {
            self.0.notify_all();
        }

        pub(in crate::outbox) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
            let held = guard.0.take().unwrap();
            let held = self.0.wait(held);
            guard.0 = Some(held.unwrap_or_else(PoisonError::into_inner));
        }

        pub(in crate::outbox) fn wait_until<T>(
            &self,
            guard: &mut MutexGuard<'_, T>,
            _deadline: Instant,
        ) -> Woken {
            self.wait(guard);
            Woken
        }

        pub(in crate::outbox) fn wait_for<T>(
            &self,
            guard: &mut MutexGuard<'_, T>,
            _timeout: Duration,
        ) -> Woken {
            self.wait(guard);
            Woken
        }
    }
}
