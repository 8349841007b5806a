//! The closed-form engine computes its formulas, masks included.

use super::*;
use crate::tests::{Bench, tiny};
use drivewam_core::bindings::{EGO, FLOW_TIME, IS_ACTION, LATENT, TOKENS, VELOCITY};

const NV: usize = 28;
const NA: usize = 8;
const SLOTS: usize = 172;

fn engine(graph: Graph, options: Options) -> ClosedForm {
    ClosedForm::open(&bundle(&tiny()).unwrap(), graph, options).unwrap()
}

fn dit(n: usize, options: Options) -> (ClosedForm, Bench, Binding) {
    let mut engine = engine(Graph::Dit, options);
    let mut bench = Bench::new(&engine.entry.clone(), n, SLOTS);
    let binding = bench.bind(&mut engine).unwrap();
    (engine, bench, binding)
}

#[test]
fn without_coupling_euler_steps_end_on_the_data_which_is_straight_on_at_the_ego_s_speed() {
    let model = tiny();
    let (mut dit, mut bench, binding) = dit(NV + NA, Options { coupling: 0.0, fault: None });
    // The ego's graph sets the speed: 12 m/s.
    let mut ego = engine(Graph::ContextEgo, Options::default());
    let mut side = Bench::new(&ego.entry.clone(), 0, 0);
    side.set(EGO, &[12.0, 0.5, 0.01]);
    let bound = side.bind(&mut ego).unwrap();
    side.run(&mut ego, bound).unwrap();
    bench.set("ego_v.0", &side.output("ego_v.0"));
    bench.set(IS_ACTION, &[vec![0.0; NV], vec![1.0; NA]].concat());
    for [from, to] in [[1.0, 0.7], [0.7, 0.2], [0.2, 0.0]] {
        bench.set(FLOW_TIME, &[from, from]);
        bench.run(&mut dit, binding).unwrap();
        let velocity = bench.output(VELOCITY);
        let x: Vec<f32> = bench.input(TOKENS).iter().zip(&velocity).map(|(x, v)| x + (to - from) * v).collect();
        bench.set(TOKENS, &x);
    }
    let action = bundle(&model).unwrap().manifest().normalisation.action;
    let normalised = |i: usize, value: f64| (2.0 * (value - action.q01[i]) / (action.q99[i] - action.q01[i] + action.epsilon) - 1.0) as f32;
    for (r, row) in bench.input(TOKENS).chunks_exact(model.token_width()).enumerate() {
        for (w, x) in row.iter().enumerate() {
            let data = match (r < NV, w < 15) {
                (true, _) => ((w % 5) as f32 - 2.0) / 4.0,
                (false, true) => normalised(w % 3, if w % 3 == 0 { 1.2 } else { 0.0 }),
                (false, false) => 0.0,
            };
            assert!((x - data).abs() < 1e-5, "row {r}, channel {w}: {x}, wanted {data}");
        }
    }
}

/// The largest change of the velocity of the video rows and of the action rows when `change` is
/// applied to the inputs.
fn moved(options: Options, change: impl Fn(&mut Bench)) -> (f32, f32) {
    let (mut dit, mut bench, binding) = dit(NV + NA, options);
    bench.set(IS_ACTION, &[vec![0.0; NV], vec![1.0; NA]].concat());
    bench.run(&mut dit, binding).unwrap();
    let before = bench.output(VELOCITY);
    change(&mut bench);
    bench.run(&mut dit, binding).unwrap();
    let width = tiny().token_width();
    let after = bench.output(VELOCITY);
    let moves: Vec<f32> = before.iter().zip(&after).map(|(a, b)| (a - b).abs()).collect();
    let largest = |rows: &[f32]| rows.iter().fold(0.0, |m: f32, x| m.max(*x));
    (largest(&moves[..NV * width]), largest(&moves[NV * width..]))
}

fn shift(bench: &mut Bench, input: &str, at: std::ops::Range<usize>) {
    let mut data = bench.input(input);
    data[at].iter_mut().for_each(|x| *x += 1.0);
    bench.set(input, &data);
}

#[test]
fn rows_depend_on_what_the_mask_shows_them_and_on_nothing_else() {
    struct Case {
        name: &'static str,
        change: fn(&mut Bench),
        video: bool,
        action: bool,
    }
    let cases = [
        Case { name: "an action row", change: |b| shift(b, TOKENS, (NV + 3) * 96..(NV + 4) * 96), video: false, action: true },
        Case { name: "a video row", change: |b| shift(b, TOKENS, 96..192), video: true, action: true },
        Case { name: "the value in a filled slot", change: |b| shift(b, "mem_v.3", 0..32), video: true, action: true },
        Case { name: "the key in a filled slot", change: |b| shift(b, "mem_k.3", 0..32), video: true, action: true },
        Case { name: "the value in an empty slot", change: |b| shift(b, "mem_v.3", 4 * 32..5 * 32), video: false, action: false },
        Case { name: "the rotation of the action rows", change: |b| shift(b, "rope", NV * 32..(NV + NA) * 32), video: false, action: true },
        Case { name: "the text", change: |b| shift(b, "text_v.2", 0..32), video: true, action: true },
        Case { name: "the scale of one action row", change: |b| shift(b, "self_scale", NV..NV + 1), video: false, action: true },
        Case { name: "the flow time of the actions", change: |b| shift(b, FLOW_TIME, 1..2), video: false, action: true },
    ];
    let mut failed = Vec::new();
    for case in &cases {
        let (video, action) = moved(Options::default(), case.change);
        if (video > 0.0, action > 0.0) != (case.video, case.action) {
            failed.push(format!("{}: video moved by {video}, action by {action}", case.name));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
    let leaky = Options { fault: Some(Fault::LeakyMask), ..Options::default() };
    let (video, _) = moved(leaky, cases[0].change);
    assert!(video > 1e-4, "the leak shows: {video}");
}

/// Breaks when committing a pass's keys and values to memory is not the same as having its rows in
/// the pass.
#[test]
fn video_in_memory_and_video_in_the_pass_look_the_same_to_an_action_row() {
    let (model, options) = (tiny(), Options::default());
    let action_rows = [vec![0.0; NV], vec![1.0; NA]].concat();
    let (mut packed, mut bench, binding) = dit(NV + NA, options);
    bench.set(IS_ACTION, &action_rows);
    // The last slots are those that the commit will fill.
    let mut bias = bench.input("mem_bias");
    bias[SLOTS - NV..].fill(drivewam_core::bindings::MASKED);
    bench.set("mem_bias", &bias);
    bench.run(&mut packed, binding).unwrap();
    let packed_velocity = bench.output(VELOCITY);
    // Unpacked: the video rows alone, their keys and values into the last slots, then the action
    // rows alone.
    let take = |bench: &mut Bench, name: &str, width: usize, rows: std::ops::Range<usize>| {
        let data = bench.input(name);
        data[rows.start * width..rows.end * width].to_vec()
    };
    let mut alone = |rows: std::ops::Range<usize>, commit: Option<&mut Bench>| {
        let (mut engine, mut own, binding) = dit(rows.len(), options);
        for (name, width) in [(TOKENS, 96), ("rope", 32), ("self_scale", 1), (IS_ACTION, 1)] {
            let data = take(&mut bench, name, width, rows.clone());
            own.set(name, &data);
        }
        for bound in own.io.inputs.clone() {
            if bound.name.contains('.') || bound.name == FLOW_TIME || bound.name.ends_with("bias") {
                let data = bench.input(&bound.name);
                own.set(&bound.name, &data);
            }
        }
        if let Some(video) = commit {
            let mut bias = own.input("mem_bias");
            bias[SLOTS - NV..].fill(0.0);
            own.set("mem_bias", &bias);
            for (l, stem) in (0..model.layers).flat_map(|l| ["k", "v"].map(|stem| (l, stem))) {
                let from = video.output(&format!("{stem}.{l}"));
                let mut to = own.input(&format!("mem_{stem}.{l}"));
                for h in 0..model.heads {
                    let at = (h * SLOTS + SLOTS - NV) * model.head_dim;
                    to[at..at + NV * model.head_dim].copy_from_slice(&from[h * NV * model.head_dim..(h + 1) * NV * model.head_dim]);
                }
                own.set(&format!("mem_{stem}.{l}"), &to);
            }
        }
        own.run(&mut engine, binding).unwrap();
        own
    };
    let mut video = alone(0..NV, None);
    let mut action = alone(NV..NV + NA, Some(&mut video));
    let unpacked = [video.output(VELOCITY), action.output(VELOCITY)].concat();
    let worst = packed_velocity.iter().zip(&unpacked).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-5, "{worst}");
}

#[test]
fn faults_come_when_they_were_asked_for() {
    let (mut dit, mut bench, binding) = dit(NA, Options { fault: Some(Fault::NanAt(2)), ..Options::default() });
    let nans = |bench: &mut Bench| bench.output(VELOCITY).iter().filter(|v| v.is_nan()).count();
    for (run, wanted) in [(1, 0), (2, 1), (3, 1)] {
        bench.run(&mut dit, binding).unwrap();
        assert_eq!(nans(&mut bench), wanted, "run {run}");
    }
    dit.options.fault = Some(Fault::ErrorAt(4));
    let before = bench.output("k.0");
    let error = bench.run(&mut dit, binding).unwrap_err();
    assert!(error.kind() == ErrorKind::Engine && error.to_string().contains("dit"), "{error}");
    assert_eq!(bench.output("k.0"), before);
    bench.run(&mut dit, binding).unwrap();
    assert_eq!(dit.runs(), 5);
    assert!(bench.run(&mut dit, Binding(7)).unwrap_err().kind() == ErrorKind::Usage);
}

#[test]
fn the_codec_carries_its_cache_and_its_inverse_shows_the_average() {
    let mut first = engine(Graph::VaeEncodeFirst, Options::default());
    let mut next = engine(Graph::VaeEncode, Options::default());
    let mut decode = engine(Graph::VaeDecode, Options::default());
    let mut a = Bench::new(&first.entry.clone(), 0, 0);
    let grey: Vec<f32> = (0..3 * 64 * 112).map(|i| [0.5, -0.25, 0.75][i / (64 * 112)]).collect();
    a.set("frames", &grey);
    let bound = a.bind(&mut first).unwrap();
    a.run(&mut first, bound).unwrap();
    let latent = a.output(LATENT);
    assert_eq!((latent[0], latent[8 * 14], latent[2 * 8 * 14]), (0.5, -0.25, 0.75));
    let mut b = Bench::new(&next.entry.clone(), 0, 0);
    b.set("frames", &grey.repeat(4));
    b.set("cache_in.0", &a.output("cache_out.0"));
    let bound = b.bind(&mut next).unwrap();
    b.run(&mut next, bound).unwrap();
    assert_eq!(b.output(LATENT)[0], 0.5);
    b.set("cache_in.0", &vec![0.0; 3 * 8 * 14]);
    b.run(&mut next, bound).unwrap();
    assert_eq!(b.output(LATENT)[0], 0.375, "the cache counts");
    let mut c = Bench::new(&decode.entry.clone(), 0, 0);
    c.set(LATENT, &latent);
    let bound = c.bind(&mut decode).unwrap();
    c.run(&mut decode, bound).unwrap();
    assert_eq!(c.output("frames"), grey.repeat(4));
}
