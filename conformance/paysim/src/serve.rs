//! The simulator on a socket.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::chance::Chance;
use crate::fault::Faults;
use crate::hook::Delivery;
use crate::paypal::{self, PayPal};
use crate::stripe::{self, Stripe};

/// Why the simulator does not run.
pub type StartError = std::io::Error;

/// Both providers.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) stripe: Stripe,
    pub(crate) paypal: PayPal,
    chance: Chance,
}

/// What the handlers share. The lock guards the books; it is never held while anybody waits.
pub(crate) type Shared = Arc<Mutex<State>>;

pub(crate) fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A simulator that answers until it is dropped.
#[derive(Debug)]
pub struct Simulator {
    addr: SocketAddr,
    state: Shared,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Simulator {
    /// Listens at an address; each provider draws its faults from what it is given.
    ///
    /// # Errors
    /// [`StartError`] where nothing can listen there.
    pub async fn start(at: SocketAddr, seed: u64, faults: Faults) -> Result<Self, StartError> {
        let listener = TcpListener::bind(at).await?;
        let addr = listener.local_addr()?;
        let paypal = PayPal::new(faults.clone(), format!("http://{addr}"), Chance::new(seed ^ 1));
        let state = State { stripe: Stripe::new(faults), paypal, chance: Chance::new(seed) };
        let state: Shared = Arc::new(Mutex::new(state));
        let routes = stripe::routes().merge(paypal::routes()).with_state(Arc::clone(&state));
        let serving = tokio::spawn(async move { axum::serve(listener, routes).await });
        Ok(Self { addr, state, serving })
    }

    /// What clients put before their paths.
    #[must_use]
    pub fn base(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Reads or changes what Stripe has.
    pub fn stripe<T>(&self, act: impl FnOnce(&mut Stripe) -> T) -> T {
        act(&mut lock(&self.state).stripe)
    }

    /// Reads or changes what PayPal has.
    pub fn paypal<T>(&self, act: impl FnOnce(&mut PayPal) -> T) -> T {
        act(&mut lock(&self.state).paypal)
    }

    /// The events that Stripe posts now, signed at a second: some twice, in any order.
    #[must_use]
    pub fn stripe_events(&self, seconds: u64) -> Vec<Delivery> {
        let mut state = lock(&self.state);
        let State { stripe, chance, .. } = &mut *state;
        stripe.deliveries(seconds, chance)
    }

    /// The events that PayPal posts now: some twice, in any order.
    #[must_use]
    pub fn paypal_events(&self) -> Vec<Delivery> {
        let mut state = lock(&self.state);
        let State { paypal, chance, .. } = &mut *state;
        paypal.deliveries(chance)
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
