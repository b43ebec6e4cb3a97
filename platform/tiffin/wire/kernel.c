/* The reader's inner loops over rows of one width, see kernel.py. Whatever looks wrong ends with 1 and no word about it: numpy's
 * own way then goes over the same rows and says what is wrong. Little-endian machines only.
 */
#include <stdint.h>
#include <string.h>

enum { I8, I16, I32, I64, F32, F16, BOOL, STEP8, STEP16, STEP32, CODE8, CODE16 };

#define LANES 16

#define LOAD(type, name, from) \
    type name;                 \
    memcpy(&name, from, sizeof name)

/* one body for several generations of processors, chosen as the library is loaded */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define MANY __attribute__((target_clones("avx2", "default")))
#else
#define MANY
#endif

int64_t tiffin_version(void) { return 1; }

/* Check bytes, schema numbers and padding of `rows` of `width` bytes, `stride` bytes apart; their event times.
 * about: schema number, seed, unit us, epoch us, then place and first forbidden value of the last null byte and of the last bool
 * byte (place -1: none), and how wide the tables are: `width` and zeros, up to a multiple of LANES.
 * tables: A, B and C of tiffin.wire.checks; A is zero for the check byte, which does not count.
 */
MANY int32_t tiffin_check(const uint8_t *data, int64_t stride, int64_t rows, int64_t width, const int64_t *about, const uint16_t *tables,
                          int64_t *times) {
    const int64_t wide = about[8];
    const uint16_t *a = tables, *b = tables + wide, *c = tables + 2 * wide;
    uint8_t last[8192 + LANES];
    int wrong = 0;
    for (int64_t row = 0; row < rows; row++) {
        const uint8_t *at = data + row * stride;
        if (row * stride + wide > (rows - 1) * stride + width) { /* what comes after the last rows is not ours to read */
            memcpy(last, at, (size_t)width);
            memset(last + width, 0, (size_t)(wide - width));
            at = last;
        }
        /* 16-bit lanes that only ever hold a byte: compilers make vectors of them */
        uint16_t sums[LANES] = {0};
        for (int64_t from = 0; from < wide; from += LANES) {
            for (int lane = 0; lane < LANES; lane++) {
                uint16_t x = (uint16_t)((at[from + lane] ^ c[from + lane]) * a[from + lane]) & 255;
                x ^= x >> 4;
                x = (uint16_t)(x * b[from + lane]) & 255;
                x ^= x >> 3;
                x = (uint16_t)(x * a[from + lane]) & 255;
                x ^= x >> 4;
                sums[lane] = (uint16_t)(sums[lane] + x);
            }
        }
        uint16_t sum = 0;
        for (int lane = 0; lane < LANES; lane++) sum = (uint16_t)(sum + sums[lane]);
        wrong |= at[0] != about[0] || at[1] != (uint8_t)(sum + about[1]);
        wrong |= about[4] >= 0 && at[about[4]] >= about[5];
        wrong |= about[6] >= 0 && at[about[6]] >= about[7];
        LOAD(uint32_t, count, at + 2);
        times[row] = (int64_t)count * about[2] + about[3];
    }
    return wrong;
}

/* Whole numbers as parts of keys: a tag, then big-endian with the sign bit turned. size: bytes of a number in memory, of which
 * `width` are stored; the number fits.
 */
int32_t tiffin_whole(const uint8_t *numbers, int64_t rows, int64_t size, int64_t width, int64_t tag, uint8_t *made) {
    for (int64_t row = 0; row < rows; row++) {
        uint64_t number = 0;
        if (size == 4) {
            LOAD(int32_t, given, numbers + 4 * row);
            number = (uint64_t)(int64_t)given;
        } else {
            memcpy(&number, numbers + 8 * row, 8);
        }
        number = __builtin_bswap64((number ^ (uint64_t)1 << (8 * width - 1)) << (64 - 8 * width));
        uint8_t *to = made + row * (width + 1);
        to[0] = (uint8_t)tag;
        memcpy(to + 1, &number, (size_t)width);
    }
    return 0;
}

/* Whether all pieces, `stride` bytes apart, begin with these bytes and have `\r\n` before the next. */
int32_t tiffin_framed(const uint8_t *data, int64_t stride, int64_t rows, const uint8_t *head, int64_t length) {
    int wrong = 0;
    for (int64_t row = 0; row < rows; row++) {
        const uint8_t *at = data + row * stride;
        for (int64_t place = 0; place < length; place++) wrong |= at[place] ^ head[place];
        wrong |= (at[stride - 2] ^ '\r') | (at[stride - 1] ^ '\n');
    }
    return !wrong;
}

/* Whether two of the rows are equal. seen: `slots` zeros, a power of two of at least twice the rows. */
int32_t tiffin_repeats(const uint8_t *data, int64_t rows, int64_t width, uint32_t *seen, int64_t slots) {
    for (int64_t row = 0; row < rows; row++) {
        const uint8_t *at = data + row * width;
        uint64_t hash = 0;
        for (int64_t place = 0; place < width; place += 8) {
            uint64_t word = 0;
            memcpy(&word, at + place, (size_t)(width - place < 8 ? width - place : 8));
            hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
            hash ^= hash >> 29;
        }
        for (uint64_t slot = hash & (uint64_t)(slots - 1);; slot = (slot + 1) & (uint64_t)(slots - 1)) {
            if (!seen[slot]) {
                seen[slot] = (uint32_t)row + 1;
                break;
            }
            if (!memcmp(data + (int64_t)(seen[slot] - 1) * width, at, (size_t)width)) return 1;
        }
    }
    return 0;
}

static uint32_t half(uint16_t bits) {
    const uint32_t sign = (uint32_t)(bits & 0x8000) << 16, exponent = bits >> 10 & 31, fraction = bits & 1023;
    const float small = (float)fraction * 0x1p-24f;
    LOAD(uint32_t, less, &small);
    return sign | (exponent ? (exponent + 112) << 23 | fraction << 13 : less);
}

static int infinite(const float *value) {
    LOAD(uint32_t, bits, value);
    return (bits & 0x7F800000u) == 0x7F800000u;
}

/* every row in the order of `index`, as `from`, and whether it `is` null; a loop for either case, so that neither asks in every row */
#define EACH(...)                                                                        \
    if (index) {                                                                         \
        for (int64_t row = 0; row < rows; row++) {                                       \
            const uint8_t *from = index[row] < 0 ? absent : data + index[row] * stride;  \
            const uint8_t is = (uint8_t)((from[byte] & bit) != 0 || from == absent);     \
            there[row] = !is;                                                            \
            nulls += is;                                                                 \
            __VA_ARGS__                                                                  \
        }                                                                                \
    } else {                                                                             \
        for (int64_t row = 0; row < rows; row++) {                                       \
            const uint8_t *from = data + row * stride;                                   \
            const uint8_t is = (from[byte] & bit) != 0;                                  \
            there[row] = !is;                                                            \
            nulls += is;                                                                 \
            __VA_ARGS__                                                                  \
        }                                                                                \
    }

#define SCALED(type)                                        \
    EACH(LOAD(type, number, from + place);                  \
         const float value = (float)((double)number * step); \
         wrong |= infinite(&value);                         \
         memcpy(out + 4 * row, &value, 4);)

#define WORDS(type)                                                       \
    EACH(if (!is) {                                                       \
        LOAD(type, code, from + place);                                   \
        if (code == 0 || code > words) return 1;                          \
        memcpy(text, padded + code * longest, (size_t)longest);           \
        text += lengths[code];                                            \
    } ends[row + 1] = text - start;)

/* Columns of verified rows, in the order of `index` (NULL: as they are; -1: the row `absent`, zeros with every null bit set).
 * columns: eight numbers each: kind, byte (for a bool: bit) in the row, null bit or -1, bytes a row before it in `made`; for text of a
 * vocabulary its number of words, their longest, and the addresses of the words, padded, and of their lengths.
 * made: all columns, text with room for its longest word in every row. valid: `columns` x `rows`. told: how many rows of each column are null.
 * stops: for each column of text, in order, `rows` + 1.
 */
int32_t tiffin_columns(const uint8_t *data, int64_t stride, const int64_t *index, int64_t rows, const uint8_t *absent,
                       const int64_t *columns, const double *steps, int64_t count, uint8_t *made, uint8_t *valid, int64_t *told,
                       int64_t *stops) {
    int wrong = 0;
    int64_t *ends = stops;
    for (int64_t column = 0; column < count; column++) {
        const int64_t *of = columns + 8 * column;
        const int64_t place = of[1], null = of[2], words = of[4], longest = of[5], byte = null < 0 ? 0 : null >> 3;
        const uint8_t bit = null < 0 ? 0 : (uint8_t)(1 << (null & 7));
        const uint8_t *padded = (const uint8_t *)(intptr_t)of[6];
        const int64_t *lengths = (const int64_t *)(intptr_t)of[7];
        uint8_t *out = made + of[3] * rows, *there = valid + column * rows, *text = out, *const start = out;
        const double step = steps[column];
        int64_t nulls = 0;
        switch (of[0]) {
        case I8: EACH(out[row] = from[place];) break;
        case I16: EACH(memcpy(out + 2 * row, from + place, 2);) break;
        case I32: EACH(memcpy(out + 4 * row, from + place, 4);) break;
        case I64: EACH(memcpy(out + 8 * row, from + place, 8);) break;
        case F32: EACH(LOAD(float, value, from + place); wrong |= infinite(&value); memcpy(out + 4 * row, &value, 4);) break;
        case F16:
            EACH(LOAD(uint16_t, bits, from + place); wrong |= (bits & 0x7C00) == 0x7C00; const uint32_t value = half(bits);
                 memcpy(out + 4 * row, &value, 4);)
            break;
        case BOOL: EACH(out[row] = from[place >> 3] >> (place & 7) & 1;) break;
        case STEP8: SCALED(int8_t) break;
        case STEP16: SCALED(int16_t) break;
        case STEP32: SCALED(int32_t) break;
        case CODE8: ends[0] = 0; WORDS(uint8_t) break;
        case CODE16: ends[0] = 0; WORDS(uint16_t) break;
        default: return 1;
        }
        told[column] = nulls;
        if (of[0] >= CODE8) ends += rows + 1;
    }
    return wrong;
}
