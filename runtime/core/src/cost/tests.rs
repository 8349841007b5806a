//! Tests: the counts against PyTorch's counts of the same models, and the checks of boards.

use super::*;
use crate::config::{Config, Layer};
use crate::error::ErrorKind;

fn config(name: &str, more: &str) -> Config {
    let model = match name {
        "tiny" => include_str!("../../../../configs/model/tiny.yaml"),
        _ => include_str!("../../../../configs/model/drivewam-5b.yaml"),
    };
    let own = match name {
        "tiny" => include_str!("../../../../configs/tiny.yaml"),
        _ => include_str!("../../../../configs/drivewam-5b.yaml"),
    };
    let (target, vehicle) =
        (include_str!("../../../../configs/target/host-cpu.yaml"), include_str!("../../../../configs/vehicle/world.yaml"));
    let layers = [model, target, vehicle, own, more].map(|text| Layer { name: "test".into(), text: text.into() });
    Config::from_layers(&layers).unwrap()
}

const SHIPPED: &str = include_str!("../../../../configs/target/boards.yaml");

/// Breaks when a layer is forgotten, counted twice or of another width. `export/tests/test_cost.py`
/// has the same numbers and counts PyTorch's modules. `tools/drivewam/tests` compares
/// `plan --target` with the shipped files.
#[test]
fn parameters_are_those_of_the_reference_model() {
    let (tiny, paper) = (config("tiny", "{}").model, config("5b", "{}").model);
    assert_eq!(dit(&tiny), Count { all: 1_706_095, single: 60_672 });
    assert_eq!(dit(&paper), Count { all: 5_063_885_022, single: 21_755_904 });
    assert_eq!((context_text(&tiny) + context_ego(&tiny)).all, 489_216);
    assert_eq!(context_text(&paper) + context_ego(&paper), Count { all: 1_164_493_824, single: 184_320 });
    assert_eq!(dit(&paper).bytes(Number::F16), 2 * 5_063_885_022 + 2 * 21_755_904);
    assert_eq!(QWEN3_VL_8B.decoder_parameters() + QWEN3_VL_8B.vision_parameters(), 8_767_123_696);
    assert_eq!(UMT5_XXL.parameters(), 5_680_910_336);
}

/// Breaks when a product of a graph is forgotten or counted twice. The numbers are PyTorch's own
/// count (`FlopCounterMode`) of the same graphs, from `export/tests/test_cost.py`.
#[test]
fn operations_are_those_that_pytorch_counts() {
    for (name, slots, counted, text, ego) in [
        ("tiny", 172, [104_126_464.0, 29_609_984.0, 134_621_184.0], 28_753_920.0, 1_704_704.0),
        ("5b", 720, [1_143_762_714_624.0, 407_596_892_160.0, 1_554_395_234_304.0], 151_768_793_088.0, 1_151_354_880.0),
    ] {
        let model = config(name, "{}").model;
        for (tokens, flops) in [model.video_tokens(), model.action_tokens(), model.packed_tokens()].into_iter().zip(counted) {
            let pass = Pass { name: "", count: 1, tokens: tokens as u64 };
            assert_eq!(pass.work(&model, slots, Number::F32).flops, flops, "{name}, {tokens} tokens");
        }
        assert_eq!(text_work(&model, Number::F32).flops, text, "{name}");
        assert_eq!(ego_work(&model, Number::F32).flops, ego, "{name}");
    }
}

/// Breaks when the cost of an image, of a prompt or of the text encoder differs from PyTorch's
/// count of a small model of the class, or of umT5-XXL itself (`export/tests/test_cost.py`).
#[test]
fn guidance_operations_are_those_that_pytorch_counts() {
    let small = QwenVl {
        layers: 3,
        width: 32,
        ffn: 48,
        heads: 4,
        kv_heads: 2,
        head_dim: 16,
        vocabulary: 97,
        vision_layers: 3,
        vision_width: 24,
        vision_ffn: 40,
        patch: 96,
        places: 25,
        merge: 4,
        deepstack: 2,
    };
    assert_eq!((small.decoder_parameters() + small.vision_parameters(), small.vision_parameters()), (92_832, 54_048));
    assert_eq!(small.vision(24, Number::F32).flops, 1_327_104.0);
    assert_eq!(small.pass(10, 10, Number::F32).flops, 728_128.0);
    assert_eq!(UMT5_XXL.work(128, Number::F16).flops, 1_191_853_424_640.0);
}

/// Breaks when these passes are not those of the sampler; `tests/tests/passes.rs` counts the passes
/// of a ride.
#[test]
fn a_chunk_has_the_passes_of_the_sampler() {
    let count = |more: &str| chunk(&config("5b", more)).iter().map(|pass| pass.count).sum::<u64>();
    assert_eq!(count("{}"), 14);
    assert_eq!(count("flow: {passes: unpacked}"), 16);
    assert_eq!(count("flow: {video_commit: last_step}"), 14);
    assert_eq!(count("flow: {passes: unpacked, video_commit: last_step}"), 15);
    assert_eq!(count("flow: {action: {steps: 1}}"), 5);
    assert_eq!(count("flow: {action: {start: {mean: 3}}}"), 34);
}

/// Breaks when the bytes of a pass are not the weights once and the cached rows once, each in its
/// own type.
#[test]
fn a_pass_reads_its_weights_and_its_cached_rows_once() {
    let model = config("5b", "{}").model;
    let work = |number| Pass { name: "", count: 1, tokens: 112 }.work(&model, 720, number);
    assert_eq!(work(Number::F32).cache_bytes, 30 * 3072 * (2 * (720 + 129 + 1) + 3 * 112) * 4);
    assert_eq!(work(Number::Int8).cache_bytes * 2, work(Number::F32).cache_bytes, "cache stays f16 under eight-bit weights");
    assert_eq!(work(Number::F32).weight_bytes, 4 * 5_063_885_022);
    assert_eq!(work(Number::Fp8).bytes(), work(Number::Fp8).weight_bytes + work(Number::Fp8).cache_bytes);
}

/// Breaks when a size that a configuration may have overflows the count.
#[test]
fn the_largest_configuration_is_counted_and_does_not_overflow() {
    let mut model = config("5b", "{}").model;
    (model.dim, model.layers, model.ffn_dim) = (1 << 16, 1 << 10, 1 << 18);
    (model.latent.height, model.latent.width) = (1 << 12, 1 << 12);
    let work = Pass { name: "", count: 1, tokens: model.packed_tokens() as u64 }.work(&model, 3 << 24, Number::F32);
    assert!(work.flops > 1e20 && work.bytes() > 1 << 45);
}

/// Breaks when a shipped board does not parse, or has rates that no such board has.
#[test]
fn the_shipped_boards_are_whole() {
    let boards = Boards::parse(SHIPPED).unwrap();
    for name in boards.names() {
        let board = boards.get(name).unwrap();
        assert!(board.room_bytes() > board.memory_bytes / 2, "{name}");
        assert!(board.peak(Number::F16).unwrap() > board.peak(Number::F32).unwrap(), "{name}");
        let floor = board.floor(PassCost { flops: 1e12, weight_bytes: 1 << 30, cache_bytes: 0 }, Number::F16).unwrap();
        assert!(floor.seconds() > 0.0 && floor.seconds() >= floor.memory_s && floor.seconds() >= floor.compute_s);
    }
}

/// Breaks when a wrong board is accepted, or is refused without its key, the value and what was
/// wanted.
#[test]
fn a_wrong_board_is_refused_with_its_key() {
    let good = "boards: {a: {product: A, memory_bytes: 1000, shared: true, reserve_bytes: 1, bandwidth_bytes_per_s: 1e9, peak_flops: {f32: 1e12, f16: 2e12, bf16: 2e12}}}";
    let boards = Boards::parse(good).unwrap();
    let error = boards.get("b").unwrap_err();
    assert!(
        error.kind() == ErrorKind::Config && error.to_string().contains("got \"b\"") && error.to_string().contains("one of a"),
        "{error}"
    );
    let error = boards.get("a").unwrap().floor(PassCost::default(), Number::Fp8).unwrap_err().to_string();
    assert!(error.contains("fp8") && error.contains("f32, f16, bf16"), "{error}");
    for (from, to, word) in [
        ("product", "products", "products"),
        ("shared: true", "shared: 1", "shared"),
        ("reserve_bytes: 1,", "reserve_bytes: 1000,", "reserve_bytes"),
        ("memory_bytes: 1000", "memory_bytes: 0", "memory_bytes"),
        ("f16: 2e12", "f16: .nan", "peak_flops.f16"),
        ("bandwidth_bytes_per_s: 1e9", "bandwidth_bytes_per_s: -1", "bandwidth_bytes_per_s"),
        ("f16: 2e12", "f8: 2e12", "f8"),
    ] {
        let error = Boards::parse(&good.replace(from, to)).unwrap_err().to_string();
        assert!(error.contains(word), "{word}: {error}");
    }
}

/// Breaks when the bytes of a token or the operations of a step do not follow the definition. One
/// reading gives the paper's 1.05 for FIFO.
#[test]
fn table_5_by_its_definition() {
    let model = config("5b", "{}").model;
    assert_eq!(bytes_per_token(&model, crate::dtype::DType::Bf16), 368_640);
    let gflops = |step, pool| Reading::of(&model, step, pool).flops() / 1e9;
    assert!((gflops(Table5Step::VideoOverChunk, 608) - 1.046).abs() < 5e-4);
    assert!((gflops(Table5Step::Video, 608) - 0.991).abs() < 5e-4);
    assert!((gflops(Table5Step::Action, 608) - 0.374).abs() < 5e-4);
    assert!((gflops(Table5Step::Video, 11_400) - 15.843).abs() < 5e-4);
    assert!((selection_flops(&model, [(112, 448), (40, 160)]) / 1e9 - 0.359).abs() < 5e-4);
}
