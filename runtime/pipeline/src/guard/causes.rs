//! The one table of causes: what is wrong with a plan or with its inputs, and what the vehicle then
//! receives. No other file decides a verdict.
//!
//! A [`Cause`] has a kind, a value, and the threshold that the value lies beyond.
//! [`CauseKind::row`] gives each kind its name, its unit and its [`Response`]; `decide` turns the
//! strongest response and the state of the guard into a verdict.

use drivewam_core::ErrorKind;
use drivewam_core::manifest::{Monitor, TrainedQuantity};
use drivewam_core::motion::MotionConflict;
use std::fmt;

/// A doubt that is found this often in a row refuses the plan, or stops the car.
pub const REFUSED_DOUBTS: u32 = 3;

/// A limit of the vehicle, by its key in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VehicleLimit {
    /// `vehicle.max_speed_mps`
    Speed,
    /// `vehicle.max_acceleration_mps2`
    Acceleration,
    /// `vehicle.max_deceleration_mps2`
    Deceleration,
    /// `vehicle.max_curvature_1pm`
    Curvature,
    /// `vehicle.max_lateral_acceleration_mps2`
    LateralAcceleration,
}

impl VehicleLimit {
    /// The key in the configuration.
    pub fn key(self) -> &'static str {
        match self {
            Self::Speed => "vehicle.max_speed_mps",
            Self::Acceleration => "vehicle.max_acceleration_mps2",
            Self::Deceleration => "vehicle.max_deceleration_mps2",
            Self::Curvature => "vehicle.max_curvature_1pm",
            Self::LateralAcceleration => "vehicle.max_lateral_acceleration_mps2",
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::Speed => "m/s",
            Self::Curvature => "1/m",
            Self::Acceleration | Self::Deceleration | Self::LateralAcceleration => "m/s²",
        }
    }
}

/// An input of the vehicle that comes as a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputStream {
    /// Camera frames.
    Frames,
    /// Poses.
    Poses,
    /// Ego states.
    EgoStates,
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CauseKind {
    /// A pose of the plan is not finite. Value: its index.
    NotFinite,
    /// The plan exceeds a limit of the vehicle.
    Limit(VehicleLimit),
    /// The plan moves the car across its heading, or turns it on the spot. Value: the motion across
    /// the heading.
    SideSlip,
    /// The car is not where the plan that went out before leads to. Value: the distance.
    Discontinuous,
    /// The plan is published later after its newest frame than `guard.deadline_ms`, or than its own
    /// end.
    Late,
    /// A plan that rests on newer frames went out before. Value: how much newer.
    OutOfOrder,
    /// The plan that went out ended and no other followed. Value: the time since its end.
    Expired,
    /// There is no plan: the chunk ended in an error of this kind.
    Fault(ErrorKind),
    /// A call had a time that is out of range, or far before the time of an earlier call. Value:
    /// the difference.
    TimeBackwards,
    /// An input stayed out. Value: the age of its newest stamp.
    Silent(InputStream),
    /// The minimal-risk manoeuvre is under way. Value: the speed of the car; threshold: standstill.
    MinimalRiskLatched,
    /// Poses and ego states contradict each other.
    Motion(MotionConflict),
    /// Inputs stamped ahead of the time of the call were dropped. Value: how far ahead.
    StampAhead,
    /// The picture is identical to the last while the car moved. Value: the distance.
    CameraFrozen,
    /// The picture has no contrast: black, white, or one colour. Value: the standard deviation.
    CameraBlank,
    /// Neighbouring pixels do not resemble each other: noise. Value: their correlation.
    CameraNoise,
    /// Pictures come in reversed order: the scene shrinks while the car drives forward. Value:
    /// pairs of pictures in a row.
    CameraReversed,
    /// The picture does not show what the one before leads to after the turn that the poses
    /// measured. Value: the correlation of both.
    CameraJump,
    /// As [`CauseKind::CameraJump`], but with left and right exchanged it does.
    CameraMirrored,
    /// The field of view differs from the model's. Value: the relative difference.
    FieldOfView,
    /// The camera does not cover a share of the model's image.
    UncoveredImage,
    /// A monitor's number lies above its threshold (`monitors` of the manifest).
    Monitor(Monitor),
    /// A value outside of the range that the policy was trained on (`trained_ranges` of the
    /// manifest).
    Untrained(TrainedQuantity),
    /// Lanes have no rollout: they wait for their turn after a fault, or no frame comes at it.
    /// Value: their number.
    IdleLanes,
    /// A frame was captured this long before or after its expected time.
    FrameJitter,
    /// Inputs were refused since the last outcome. Value: their number.
    RejectedInputs,
}

/// What a cause asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Response {
    /// The plan goes out, and the cause is named beside it.
    Degrade,
    /// As [`Response::Degrade`], and as [`Response::Refuse`] from the time on at which it is found
    /// [`REFUSED_DOUBTS`] times in a row.
    Doubt,
    /// As [`Response::Doubt`], but then as [`Response::Stop`]: the plan before is no better. Until
    /// then the plan goes out, since what is rare may be a danger that it answers.
    Distrust,
    /// The plan does not go out: the previous one is continued where that is allowed, else minimal
    /// risk.
    Refuse,
    /// As [`Response::Refuse`], and from the second time in a row on as [`Response::Stop`]: what is
    /// left of the previous plan is then enough to brake along.
    Reject,
    /// Minimal risk at once.
    Stop,
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub struct CauseRow {
    /// The name that reports count by.
    pub name: &'static str,
    /// Unit of value and threshold.
    pub unit: &'static str,
    /// What the cause asks for.
    pub response: Response,
}

impl CauseKind {
    /// The row of this kind.
    pub fn row(self) -> CauseRow {
        use Response::{Degrade, Distrust, Doubt, Refuse, Reject, Stop};
        let (name, unit, response) = match self {
            Self::NotFinite => ("not_finite", "pose", Refuse),
            Self::Limit(limit) => ("limit", limit.unit(), Refuse),
            Self::SideSlip => ("side_slip", "m", Refuse),
            Self::Discontinuous => ("discontinuous", "m", Refuse),
            Self::Late => ("late", "ms", Refuse),
            Self::OutOfOrder => ("out_of_order", "ms", Refuse),
            Self::Expired => ("expired", "ms", Refuse),
            Self::Fault(ErrorKind::Internal) => ("fault", "", Stop),
            Self::Fault(_) => ("fault", "", Refuse),
            Self::TimeBackwards => ("time_backwards", "ms", Refuse),
            Self::Silent(InputStream::Frames) => ("frames_silent", "ms", Stop),
            Self::Silent(InputStream::Poses) => ("poses_silent", "ms", Stop),
            Self::Silent(InputStream::EgoStates) => ("ego_states_silent", "ms", Stop),
            Self::MinimalRiskLatched => ("minimal_risk_latched", "m/s", Stop),
            Self::Motion(MotionConflict::PoseJump) => (MotionConflict::PoseJump.as_str(), MotionConflict::PoseJump.unit(), Refuse),
            Self::Motion(conflict) => (conflict.as_str(), conflict.unit(), Doubt),
            Self::StampAhead => ("stamp_ahead", "ms", Degrade),
            Self::CameraFrozen => ("camera_frozen", "m", Reject),
            Self::CameraJump => ("camera_jump", "", Reject),
            Self::CameraMirrored => ("camera_mirrored", "", Reject),
            Self::CameraBlank => ("camera_blank", "of 255", Doubt),
            Self::CameraNoise => ("camera_noise", "", Doubt),
            Self::CameraReversed => ("camera_reversed", "pairs", Doubt),
            Self::FieldOfView => ("fov_share", "", Degrade),
            Self::UncoveredImage => ("uncovered_image_share", "", Degrade),
            Self::Monitor(monitor) => (monitor.cause(), "", Distrust),
            Self::Untrained(quantity) => (quantity.as_str(), quantity.unit(), Degrade),
            Self::IdleLanes => ("idle_lanes", "", Degrade),
            Self::FrameJitter => ("frame_jitter_ms", "ms", Degrade),
            Self::RejectedInputs => ("rejected_inputs", "", Degrade),
        };
        CauseRow { name, unit, response }
    }
}

/// A kind with its figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cause {
    /// What is wrong.
    pub kind: CauseKind,
    /// The value found, in the unit of the kind's row.
    pub value: f64,
    /// The threshold that it lies beyond.
    pub threshold: f64,
    /// The pose of the plan that it was found at.
    pub pose: Option<usize>,
    /// How often it was found in a row: by pictures or seconds for a [`Response::Doubt`], else 1.
    pub in_a_row: u32,
}

impl Cause {
    /// A cause that is not found at a pose of the plan.
    pub fn new(kind: CauseKind, value: f64, threshold: f64) -> Self {
        Self { kind, value, threshold, pose: None, in_a_row: 1 }
    }

    /// A cause found at pose `pose` of the plan.
    pub(crate) fn at(kind: CauseKind, pose: usize, value: f64, threshold: f64) -> Self {
        Self { pose: Some(pose), ..Self::new(kind, value, threshold) }
    }

    /// There is no plan, because of an error.
    pub(crate) fn fault(kind: ErrorKind) -> Self {
        Self::new(CauseKind::Fault(kind), f64::NAN, f64::NAN)
    }

    /// The name that reports count by.
    pub fn as_str(&self) -> &'static str {
        self.kind.row().name
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, threshold) = (self.value, self.threshold);
        let pose = self.pose.unwrap_or(0);
        let unit = self.kind.row().unit;
        match self.kind {
            CauseKind::NotFinite => write!(f, "pose {pose} is not finite"),
            CauseKind::Limit(limit) => write!(f, "pose {pose} exceeds {} (got {value:.2}, limit {threshold} {unit})", limit.key()),
            CauseKind::SideSlip => write!(f, "pose {pose} moves across the heading, or turns on the spot"),
            CauseKind::Discontinuous => {
                write!(f, "the car is not where the previous plan leads to (got {value:.2} m, limit {threshold} m)")
            }
            CauseKind::Late => write!(f, "the plan is late (got {value:.0} ms after its newest frame, limit {threshold:.0} ms)"),
            CauseKind::OutOfOrder => write!(f, "a plan that rests on frames {value:.0} ms newer went out before"),
            CauseKind::Expired => write!(f, "the previous plan ended and no other followed (got {value:.0} ms, limit {threshold:.0} ms)"),
            CauseKind::Fault(kind) => write!(f, "no plan: {} error", kind.as_str()),
            CauseKind::TimeBackwards => write!(f, "the time of a call is out of order (got {value:.0} ms before an earlier one)"),
            CauseKind::Silent(stream) => {
                let stream = match stream {
                    InputStream::Frames => "camera frames",
                    InputStream::Poses => "poses",
                    InputStream::EgoStates => "ego states",
                };
                write!(f, "no {stream} (got {value:.0} ms, limit {threshold:.0} ms)")
            }
            CauseKind::MinimalRiskLatched => {
                write!(f, "the car brakes to a standstill (got {value:.1} m/s, released below {threshold} m/s)")
            }
            _ => write!(f, "{} (got {value:.3}, limit {threshold:.3} {unit})", self.as_str()),
        }
    }
}

/// The guard's verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The policy's plan is published unchanged.
    Accepted,
    /// The previous plan is continued, by the gap policy.
    Held,
    /// The vehicle is asked for its minimal-risk manoeuvre. The published plan brakes, to a
    /// standstill where its length allows.
    MinimalRisk,
}

impl Verdict {
    /// The name that reports use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Held => "held",
            Self::MinimalRisk => "minimal_risk",
        }
    }
}

/// What went out last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GuardState {
    /// Nothing, or a plan that was not accepted and is over.
    Start,
    /// An accepted plan.
    Driving,
    /// A continued plan, since this time.
    Holding {
        /// Time of the first answer of this hold.
        since_ns: i64,
    },
    /// A request for minimal risk.
    MinimalRisk,
}

/// The cause that asks for most, the first of equals, and what it asks for.
pub(crate) fn strongest(causes: &Causes) -> (Option<Cause>, Option<Response>) {
    let mut strongest: (Option<Cause>, Option<Response>) = (None, None);
    for cause in causes.iter() {
        let response = match cause.kind.row().response {
            Response::Doubt if cause.in_a_row >= REFUSED_DOUBTS => Response::Refuse,
            Response::Distrust if cause.in_a_row >= REFUSED_DOUBTS => Response::Stop,
            Response::Reject if cause.in_a_row > 1 => Response::Stop,
            Response::Reject => Response::Refuse,
            response => response,
        };
        if strongest.1.is_none_or(|most| response > most) {
            strongest = (Some(cause), Some(response));
        }
    }
    strongest
}

/// The verdict for the strongest response of a plan's causes. `may_hold`: whether the gap policy,
/// its time limit and the vehicle's limits allow that the previous plan is continued.
///
/// | state | none, degrade | refuse | stop |
/// |---|---|---|---|
/// | start | accepted | minimal risk | minimal risk |
/// | driving, holding | accepted | held if `may_hold`, else minimal risk | minimal risk |
/// | minimal risk, latched | minimal risk | minimal risk | minimal risk |
/// | minimal risk, released | accepted | minimal risk | minimal risk |
///
/// The latch is a cause of its own; a standstill or `Ride::release` opens it.
pub(crate) fn decide(strongest: Option<Response>, state: GuardState, may_hold: bool) -> Verdict {
    match (strongest, state) {
        (None | Some(Response::Degrade | Response::Doubt | Response::Distrust), _) => Verdict::Accepted,
        (Some(Response::Refuse), GuardState::Driving | GuardState::Holding { .. }) if may_hold => Verdict::Held,
        (Some(Response::Refuse | Response::Reject | Response::Stop), _) => Verdict::MinimalRisk,
    }
}

/// The causes of one outcome, without allocation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Causes {
    list: [Option<Cause>; Causes::MOST],
}

impl Causes {
    /// More than can occur at once: each kind is listed once.
    const MOST: usize = 32;

    /// No cause.
    pub const NONE: Self = Self { list: [None; Self::MOST] };

    /// Adds a cause. Of two causes of one kind the one stays that was found more often in a row,
    /// else the first.
    pub fn add(&mut self, cause: Cause) {
        let known = |slot: &&mut Option<Cause>| slot.is_none_or(|known| known.kind == cause.kind);
        if let Some(slot) = self.list.iter_mut().find(known)
            && slot.is_none_or(|known| known.in_a_row < cause.in_a_row)
        {
            *slot = Some(cause);
        }
    }

    /// The causes in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = Cause> {
        self.list.into_iter().map_while(|cause| cause)
    }

    /// Removes the cause of this kind.
    pub(crate) fn remove(&mut self, kind: CauseKind) {
        let others = self.list.into_iter().flatten().filter(|cause| cause.kind != kind);
        let mut list = [None; Self::MOST];
        for (slot, cause) in list.iter_mut().zip(others) {
            *slot = Some(cause);
        }
        self.list = list;
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.first().is_none_or(Option::is_none)
    }

    /// The cause of this kind.
    pub fn get(&self, kind: CauseKind) -> Option<Cause> {
        self.iter().find(|cause| cause.kind == kind)
    }
}

impl Default for Causes {
    fn default() -> Self {
        Self::NONE
    }
}
