// Resamples a picture to the model's size, as channel planes in [-1, 1]. A thread owns one output
// pixel with its three channels. Counterpart on the host: host/image.rs; weights: resample.rs.
//
// NV12 (a plane of Y, then one of interleaved U and V at half the size) and YUYV (Y U Y V) are
// converted to RGB pixel by pixel before they are weighted, as BT.601 limited range, as cameras
// deliver it.
#include "kernel.cuh"

enum Format : u32 { RGB8 = 0, NV12 = 1, YUYV = 2 };

// cuda/image.rs has the same fields in the same order.
struct Image {
    const unsigned char* picture;
    float* to;  // [3, rows, columns]
    const u32 *first_column, *column_count, *first_row, *row_count;
    const float *column_weight, *row_weight;  // [outputs, max_columns or max_rows]
    u32 width, height, columns, rows, max_columns, max_rows, format, reserved;
};

static_assert(sizeof(Image) == 96, "cuda/image.rs has another size");

__device__ inline void pixel(const Image& p, u32 x, u32 y, float (&rgb)[3]) {
    if (p.format == RGB8) {
        const unsigned char* at = p.picture + ((u64)y * p.width + x) * 3;
        for (int c = 0; c < 3; ++c) rgb[c] = (float)at[c];
        return;
    }
    float luma, u, v;
    if (p.format == NV12) {
        const unsigned char* chroma = p.picture + (u64)p.height * p.width + (u64)(y / 2) * p.width + x / 2 * 2;
        luma = (float)p.picture[(u64)y * p.width + x];
        u = (float)chroma[0];
        v = (float)chroma[1];
    } else {
        const unsigned char* pair = p.picture + ((u64)y * p.width + x / 2 * 2) * 2;
        luma = (float)pair[x % 2 * 2];
        u = (float)pair[1];
        v = (float)pair[3];
    }
    const float bright = 1.1643836f * (luma - 16.0f), blue = u - 128.0f, red = v - 128.0f;
    rgb[0] = fminf(fmaxf(bright + 1.5960268f * red, 0.0f), 255.0f);
    rgb[1] = fminf(fmaxf(bright - 0.3917623f * blue - 0.8129676f * red, 0.0f), 255.0f);
    rgb[2] = fminf(fmaxf(bright + 2.0172321f * blue, 0.0f), 255.0f);
}

KERNEL void image(const Image p) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= p.columns * p.rows) return;
    const u32 x = i % p.columns, y = i / p.columns;
    float sum[3] = {};
    for (u32 j = 0; j < p.row_count[y]; ++j) {
        const float down = p.row_weight[(u64)y * p.max_rows + j];
        float row[3] = {};
        for (u32 k = 0; k < p.column_count[x]; ++k) {
            float rgb[3];
            pixel(p, p.first_column[x] + k, p.first_row[y] + j, rgb);
            const float across = p.column_weight[(u64)x * p.max_columns + k];
            for (int c = 0; c < 3; ++c) row[c] += across * rgb[c];
        }
        for (int c = 0; c < 3; ++c) sum[c] += down * row[c];
    }
    for (u32 c = 0; c < 3; ++c) p.to[((u64)c * p.rows + y) * p.columns + x] = sum[c] / 127.5f - 1.0f;
}
