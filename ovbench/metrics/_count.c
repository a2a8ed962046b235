/* Counts one frame of label maps after the other: joint histogram, windows of constancy, changes.
 *
 * One pass over the frame in blocks that stay in the first cache. The same integers as
 * ovbench/metrics/framecounts.py gives with NumPy; 8-bit maps and windows of at most 255 frames.
 *
 * Per pixel four saturating bytes say for how many frames the truth, the pair of truth and
 * prediction, and the same two for raw ids, have not changed. Sums over pixels are kept in bytes,
 * one per lane, and emptied before they can overflow, so that a compiler turns the loops over lanes
 * into vector instructions.
 *
 * Stable ABI, buffer protocol only: no NumPy headers. The lock of the interpreter is released.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Copies for newer x86 processors, chosen when the module is loaded, where compiler and C library can. */
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__GLIBC__)
#define FOR_EACH_CPU __attribute__((target_clones("avx2", "default")))
#else
#define FOR_EACH_CPU
#endif
#if defined(__GNUC__) || defined(__clang__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

#if defined(__GNUC__) || defined(__clang__)
#define LANES 32 /* pixels that are worked on together */
#else
#define LANES 1
#endif
#define BLOCK (LANES == 1 ? 248 : 4096) /* pixels; at most 255 * LANES and a multiple of 8 */
#define PADDING 64
#define MAX_WINDOWS 16
#define MAX_PATCHES 8
#define CHANGES 5 /* unchanged prediction, a-b-a, scored twice, ... and changed, ... and truth changed */
#define PER_WINDOW 7 /* script num, den, raw num, den, clean num, correct num, clean den */
#define SUMS (CHANGES + PER_WINDOW * MAX_WINDOWS)
#define MANY_PAIRS 1024 /* more are found in order faster than they are sorted */
#define SPARSE 8 /* a block with more than one cut in so many pixels is followed by one counted pixelwise */

typedef struct {
    PyObject_HEAD
    size_t size;    /* pixels of a frame */
    size_t windows; /* how many lengths */
    uint8_t length[MAX_WINDOWS];
    int aliased; /* two raw ids may have one code */
    int patches; /* -1: codes come from the table */
    uint8_t shift, patch_value[MAX_PATCHES], patch_change[MAX_PATCHES];
    uint8_t code[256];   /* raw id -> code */
    uint8_t scored[256]; /* code -> 255 where scored, else 0 */
    int ranged;          /* the scored codes are range_first .. range_first + range_count - 1 */
    uint8_t range_first, range_count;
    int named; /* 0: a prediction is its own first name */
    uint8_t name[256];
    int dense;           /* the block before had many runs */
    unsigned turn;       /* frames so far */
    size_t stride;       /* `size` and room for the last lanes */
    int flipped;         /* since the truth began: ids and codes differ, the last two ages count */
    uint8_t *maps;       /* raw x 2, predictions x 3, ages x 4, each `stride` long */
    uint32_t *histogram; /* 65536, all 0 between frames */
    uint32_t *touched;   /* 65536 */
    size_t pairs;
} Counter;

enum { RAW = 0, PREDICTIONS = 2, AGES = 5, MAPS = 9 };

static uint8_t *map_of(const Counter *c, unsigned which) { return c->maps + c->stride * which; }

/* --- joint histogram ------------------------------------------------------------------------- */

INLINE void add_run(Counter *c, unsigned pair, uint32_t pixels)
{
    if (c->histogram[pair] == 0)
        c->touched[c->pairs++] = pair;
    c->histogram[pair] += pixels;
}

INLINE uint64_t load(const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

#if (defined(__GNUC__) || defined(__clang__)) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define LOWEST(bits) ((unsigned)__builtin_ctzll(bits))
/* The top bit of each of 8 bytes whose pixel differs from the one before it. */
INLINE uint64_t cut_mask(const uint8_t *p, const uint8_t *q, size_t i)
{
    const uint64_t low = UINT64_C(0x7f7f7f7f7f7f7f7f);
    const uint64_t x = (load(p + i) ^ load(p + i - 1)) | (load(q + i) ^ load(q + i - 1));
    return (((x & low) + low) | x) & ~low;
}
#endif

/* How many pixels from i on, in steps of 8 and short of `end`, equal those before them. */
INLINE size_t flat(const uint8_t *p, const uint8_t *q, size_t i, size_t end)
{
    const size_t begin = i;
#define CHANGE(k) ((load(p + i + (k)) ^ load(p + i + (k) - 1)) | (load(q + i + (k)) ^ load(q + i + (k) - 1)))
    while (i + 32 <= end && (CHANGE(0) | CHANGE(8) | CHANGE(16) | CHANGE(24)) == 0)
        i += 32;
    while (i + 8 <= end && CHANGE(0) == 0)
        i += 8;
#undef CHANGE
    return i - begin;
}

/* Counts the pixels begin .. end - 1. A run that reaches over the end is cut there. */
INLINE void histogram_block(Counter *c, const uint8_t *t, const uint8_t *p, size_t begin, size_t end)
{
    size_t start = begin, i = begin + 1, runs = 0;
    if (c->dense) {
        for (i = begin; i < end; i++) {
            add_run(c, (unsigned)t[i] << 8 | p[i], 1);
            runs += i > begin && (t[i] != t[i - 1] || p[i] != p[i - 1]);
        }
    } else {
        while (i < end) {
            i += flat(t, p, i, end);
#ifdef LOWEST
            if (i + 8 <= end) {
                for (uint64_t cuts = cut_mask(t, p, i); cuts; cuts &= cuts - 1) {
                    const size_t at = i + LOWEST(cuts) / 8;
                    add_run(c, (unsigned)t[at - 1] << 8 | p[at - 1], (uint32_t)(at - start));
                    start = at;
                    runs++;
                }
                i += 8;
                continue;
            }
#endif
            const size_t stop = i + 8 < end ? i + 8 : end;
            for (; i < stop; i++) {
                if (t[i] != t[i - 1] || p[i] != p[i - 1]) {
                    add_run(c, (unsigned)t[i - 1] << 8 | p[i - 1], (uint32_t)(i - start));
                    start = i;
                    runs++;
                }
            }
        }
        add_run(c, (unsigned)t[end - 1] << 8 | p[end - 1], (uint32_t)(end - start));
    }
    c->dense = runs > (end - begin) / SPARSE;
}

/* --- constancy and change -------------------------------------------------------------------- */

/* Which earlier frames can be compared. */
typedef struct {
    int truth;      /* there is truth now */
    int same_truth; /* ... and in the frame before */
    int same;       /* the frame before was segmented */
    int back;       /* the one before that, too */
} Known;

typedef struct {
    const uint8_t *code, *code_before, *raw, *raw_before, *scored, *scored_before;
    const uint8_t *now, *before, *back, *named;
    uint8_t *age, *pair_age, *raw_age, *raw_pair_age;
} Lanes;

/* LANES pixels, and the operations that a vector type does not share with a single byte. Comparisons give 255
 * where true and 0 elsewhere. */
#if defined(__GNUC__) || defined(__clang__)
typedef uint8_t Pixels __attribute__((vector_size(LANES)));
typedef uint8_t Stored __attribute__((vector_size(LANES), aligned(1), may_alias));
#define EQUAL(a, b) ((Pixels)((a) == (b)))
#define AT_LEAST(a, b) ((Pixels)((a) >= (b)))
#define ALL(value) ((Pixels){0} + (uint8_t)(value))
#else
typedef uint8_t Pixels, Stored;
#define EQUAL(a, b) ((uint8_t)-((a) == (b)))
#define AT_LEAST(a, b) ((uint8_t)-((a) >= (b)))
#define ALL(value) ((uint8_t)(value))
#endif
#define LOAD(map) (*(const Stored *)((map) + at))
#define STORE(map, value) (*(Stored *)((map) + at) = (value))

/* Frames without a change: one more where kept (at most 255), else 1. */
#define GROW(age, kept) ((((age) - ~EQUAL(age, ALL(255))) & (kept)) | (ALL(1) & ~(kept)))

/* The pixels from offset `at` on where `inside`; adds to one byte per lane and sum. */
INLINE void lanes(const Counter *c, const Lanes *m, size_t at, Pixels inside, int apart, int windows, Pixels *sums)
{
    const Pixels now = LOAD(m->now), code = LOAD(m->code), scored = LOAD(m->scored);
    const Pixels same = EQUAL(now, LOAD(m->before)) & inside, held = EQUAL(code, LOAD(m->code_before));
    const Pixels twice = scored & LOAD(m->scored_before) & inside;
    sums[0] -= same;
    sums[1] -= EQUAL(now, LOAD(m->back)) & ~same & inside;
    sums[2] -= twice;
    sums[3] -= twice & ~same;
    sums[4] -= twice & ~held;
    if (!windows)
        return;
    const Pixels age = GROW(LOAD(m->age), held), pair_age = GROW(LOAD(m->pair_age), held & same);
    const Pixels right = EQUAL(code, LOAD(m->named)) & scored;
    Pixels raw_age = age, raw_pair_age = pair_age;
    STORE(m->age, age);
    STORE(m->pair_age, pair_age);
    if (apart) {
        const Pixels raw_held = EQUAL(LOAD(m->raw), LOAD(m->raw_before));
        raw_age = GROW(LOAD(m->raw_age), raw_held);
        raw_pair_age = GROW(LOAD(m->raw_pair_age), raw_held & same);
        STORE(m->raw_age, raw_age);
        STORE(m->raw_pair_age, raw_pair_age);
    }
    for (size_t w = 0; w < c->windows; w++) {
        Pixels *sum = sums + CHANGES + PER_WINDOW * w;
        const Pixels length = ALL(c->length[w]);
        const Pixels truth = AT_LEAST(age, length) & inside, pair = AT_LEAST(pair_age, length) & inside;
        sum[0] -= pair;
        sum[1] -= truth;
        if (apart) {
            sum[2] -= AT_LEAST(raw_pair_age, length) & inside;
            sum[3] -= AT_LEAST(raw_age, length) & inside;
        }
        sum[4] -= pair & scored;
        sum[5] -= pair & right;
        sum[6] -= truth & scored;
    }
}

INLINE void empty(Pixels *sums, size_t used, int64_t *total)
{
    for (size_t s = 0; s < used; s++) {
        uint8_t lane[LANES];
        uint32_t sum = 0;
        memcpy(lane, sums + s, LANES);
        for (size_t j = 0; j < LANES; j++)
            sum += lane[j];
        total[s] += sum;
    }
}

INLINE void encode(const Counter *c, const uint8_t *raw, uint8_t *code, uint8_t *scored, size_t n)
{
    if (c->patches < 0) {
        for (size_t i = 0; i < n; i++)
            code[i] = c->code[raw[i]];
    } else {
        for (size_t i = 0; i < n; i++)
            code[i] = (uint8_t)(raw[i] - c->shift);
        for (int k = 0; k < c->patches; k++) {
            const uint8_t value = c->patch_value[k], change = c->patch_change[k];
            for (size_t i = 0; i < n; i++)
                code[i] ^= raw[i] == value ? change : 0;
        }
    }
    if (c->ranged) {
        const uint8_t first = c->range_first, count = c->range_count;
        for (size_t i = 0; i < n; i++)
            scored[i] = (uint8_t)-((uint8_t)(code[i] - first) < count);
    } else {
        for (size_t i = 0; i < n; i++)
            scored[i] = c->scored[code[i]];
    }
}

/* A block: at most 255 steps, after which the bytes of the sums must be emptied. */
FOR_EACH_CPU static void compare(const Counter *c, const Lanes *m, size_t n, int windows, int64_t *total)
{
    Pixels sums[SUMS];
    const int apart = c->flipped;
    const size_t used = CHANGES + (windows ? PER_WINDOW * c->windows : 0);
    memset(sums, 0, used * sizeof *sums);
    const Pixels every = ALL(255);
    size_t at = 0;
    if (apart)
        for (; at + LANES <= n; at += LANES)
            lanes(c, m, at, every, 1, windows, sums);
    else
        for (; at + LANES <= n; at += LANES)
            lanes(c, m, at, every, 0, windows, sums);
    if (at < n) {
        uint8_t rest[LANES] = {0};
        Pixels inside;
        memset(rest, 255, n - at);
        memcpy(&inside, rest, LANES);
        lanes(c, m, at, inside, apart, windows, sums);
    }
    if (windows && !apart)
        for (size_t w = 0; w < c->windows; w++) {
            Pixels *sum = sums + CHANGES + PER_WINDOW * w;
            sum[2] = sum[0];
            sum[3] = sum[1];
        }
    empty(sums, used, total);
}

/* Whether a pixel keeps its code but not its raw id. */
FOR_EACH_CPU static int flips(const Lanes *m, size_t n)
{
    uint8_t found = 0;
    for (size_t i = 0; i < n; i++)
        found |= (uint8_t)((m->code[i] == m->code_before[i]) & (m->raw[i] != m->raw_before[i]));
    return found;
}

FOR_EACH_CPU static void encode_block(const Counter *c, const uint8_t *raw, uint8_t *code, uint8_t *scored,
                                      size_t n)
{
    encode(c, raw, code, scored, n);
}

FOR_EACH_CPU static void histogram(Counter *c, const uint8_t *t, const uint8_t *p, size_t begin, size_t end)
{
    histogram_block(c, t, p, begin, end);
}

/* What is needed of a block only: it stays in the first cache. */
typedef struct {
    uint8_t code[BLOCK + PADDING], code_before[BLOCK + PADDING];
    uint8_t scored[BLOCK + PADDING], scored_before[BLOCK + PADDING], name[BLOCK + PADDING];
} Scratch;

static void name_block(const Counter *c, const uint8_t *prediction, uint8_t *name, size_t n)
{
    for (size_t i = 0; i < n; i++)
        name[i] = c->name[prediction[i]];
}

static void count(Counter *c, const uint8_t *truth, const uint8_t *prediction, Known known, int64_t *total)
{
    const unsigned one = c->turn & 1, past = known.same_truth ? one ^ 1 : one;
    uint8_t *raw = map_of(c, RAW + one), *now = map_of(c, PREDICTIONS + c->turn % 3);
    const uint8_t *raw_before = map_of(c, RAW + past);
    const uint8_t *before = known.same ? map_of(c, PREDICTIONS + (c->turn + 2) % 3) : now;
    const uint8_t *back = known.back ? map_of(c, PREDICTIONS + (c->turn + 1) % 3) : now;
    uint8_t *ages = map_of(c, AGES);
    const int windows = c->windows > 0 && known.truth;
    Scratch s;
    memset(&s, 0, sizeof s);
    if (windows && !known.same_truth) {
        memset(ages, 0, 4 * c->stride);
        c->flipped = 0;
    }
    for (size_t begin = 0; begin < c->size; begin += BLOCK) {
        const size_t n = c->size - begin < BLOCK ? c->size - begin : BLOCK;
        const Lanes m = {
            s.code, s.code_before, raw + begin, raw_before + begin, s.scored, s.scored_before,
            now + begin, before + begin, back + begin, c->named ? s.name : now + begin,
            ages + begin, ages + c->stride + begin, ages + 2 * c->stride + begin, ages + 3 * c->stride + begin,
        };
        memcpy(now + begin, prediction + begin, n);
        if (known.truth) {
            memcpy(raw + begin, truth + begin, n);
            histogram(c, truth, prediction, begin, begin + n);
            encode_block(c, raw + begin, s.code, s.scored, n);
            encode_block(c, raw_before + begin, s.code_before, s.scored_before, n);
            if (c->named)
                name_block(c, now + begin, s.name, n);
            if (windows && c->aliased && !c->flipped && flips(&m, n)) {
                /* Up to here they were equal: in this frame for the blocks before, in the last one for the rest. */
                memcpy(ages + 2 * c->stride, ages, 2 * c->stride);
                c->flipped = 1;
            }
        }
        if (windows || known.same)
            compare(c, &m, n, windows, total);
    }
    c->turn++;
}

/* --- the Python side ------------------------------------------------------------------------- */

static int bytes_of(PyObject *object, Py_buffer *view, size_t size, const char *what)
{
    if (PyObject_GetBuffer(object, view, PyBUF_SIMPLE) < 0)
        return -1;
    if ((size_t)view->len != size) {
        PyErr_Format(PyExc_ValueError, "%s: %zd bytes, expected %zu", what, view->len, size);
        PyBuffer_Release(view);
        return -1;
    }
    return 0;
}

static int copy_table(PyObject *object, uint8_t *to, size_t size, const char *what)
{
    Py_buffer view;
    if (bytes_of(object, &view, size, what) < 0)
        return -1;
    memcpy(to, view.buf, size);
    PyBuffer_Release(&view);
    return 0;
}

static void counter_dealloc(PyObject *self)
{
    Counter *c = (Counter *)self;
    PyTypeObject *type = Py_TYPE(self);
    free(c->maps);
    free(c->histogram);
    free(c->touched);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

static PyObject *counter_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    Py_ssize_t size;
    Py_buffer lengths, patches;
    PyObject *code, *scored, *name;
    int has_plan, shift, first, range, aliased;
    (void)keywords;
    if (!PyArg_ParseTuple(args, "ny*OOOy*ii(ii)i", &size, &lengths, &code, &scored, &name, &patches, &has_plan,
                          &shift, &first, &range, &aliased))
        return NULL;
    Counter *c = NULL;
    if (size < 1 || size > UINT32_MAX || lengths.len > MAX_WINDOWS || patches.len > 2 * MAX_PATCHES) {
        PyErr_SetString(PyExc_ValueError, "a frame, window lengths or patches of impossible size");
        goto done;
    }
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    c = (Counter *)alloc(type, 0);
    if (c == NULL)
        goto done;
    c->size = (size_t)size;
    c->windows = (size_t)lengths.len;
    memcpy(c->length, lengths.buf, c->windows);
    c->aliased = aliased;
    c->patches = has_plan ? (int)(patches.len / 2) : -1;
    for (int k = 0; k < c->patches; k++) {
        c->patch_value[k] = ((const uint8_t *)patches.buf)[2 * k];
        c->patch_change[k] = ((const uint8_t *)patches.buf)[2 * k + 1];
    }
    c->shift = (uint8_t)shift;
    c->ranged = range >= 0;
    c->range_first = (uint8_t)first;
    c->range_count = (uint8_t)(range < 0 ? 0 : range);
    c->named = name != Py_None;
    c->stride = (c->size + PADDING - 1) / PADDING * PADDING;
    c->maps = calloc(MAPS, c->stride);
    c->histogram = calloc(65536, sizeof *c->histogram);
    c->touched = malloc(65536 * sizeof *c->touched);
    if (c->maps == NULL || c->histogram == NULL || c->touched == NULL) {
        PyErr_NoMemory();
        Py_CLEAR(c);
    } else if (copy_table(code, c->code, 256, "code") < 0 || copy_table(scored, c->scored, 256, "scored") < 0 ||
               (c->named && copy_table(name, c->name, 256, "name") < 0)) {
        Py_CLEAR(c);
    }
done:
    PyBuffer_Release(&lengths);
    PyBuffer_Release(&patches);
    return (PyObject *)c;
}

/* By truth, then prediction with 255 ("other") first. */
static uint32_t rank(uint32_t pair) { return (pair & 0xff00u) | ((pair + 1) & 0xffu); }

static int by_rank(const void *a, const void *b)
{
    const uint32_t left = rank(*(const uint32_t *)a), right = rank(*(const uint32_t *)b);
    return (left > right) - (left < right);
}

static void sort_touched(Counter *c)
{
    if (c->pairs <= MANY_PAIRS) {
        qsort(c->touched, c->pairs, sizeof *c->touched, by_rank);
        return;
    }
    size_t found = 0;
    for (uint32_t k = 0; k < 65536; k++) {
        const uint32_t pair = (k & 0xff00u) | ((k - 1) & 0xffu);
        if (c->histogram[pair])
            c->touched[found++] = pair;
    }
}

/* The histogram as bytes, which empties it. */
static PyObject *drain(Counter *c)
{
    PyObject *result = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(c->pairs * 2 * sizeof(uint32_t)));
    char *out = result == NULL ? NULL : PyBytes_AsString(result);
    for (size_t k = 0; k < c->pairs; k++) {
        const uint32_t entry[2] = {c->touched[k], c->histogram[c->touched[k]]};
        if (out != NULL)
            memcpy(out + k * sizeof entry, entry, sizeof entry);
        c->histogram[c->touched[k]] = 0;
    }
    c->pairs = 0;
    return result;
}

PyDoc_STRVAR(count_doc,
             "count(truth, prediction, same, back, same_truth) -> (pairs, sums)\n\n"
             "Count a frame: uint8 raw ids (or None) and uint8 predictions, contiguous. The flags say which\n"
             "earlier frames may be compared. pairs: uint32 (truth << 8 | prediction, pixels) by truth and\n"
             "prediction, 255 first;\n"
             "sums: int64, 5 of changes and 7 of each window.");

static PyObject *counter_count(PyObject *self, PyObject *args)
{
    Counter *c = (Counter *)self;
    PyObject *truth_object, *prediction_object;
    Py_buffer truth, prediction;
    Known known = {0, 0, 0, 0};
    int64_t total[SUMS];
    if (!PyArg_ParseTuple(args, "OOiii", &truth_object, &prediction_object, &known.same, &known.back,
                          &known.same_truth))
        return NULL;
    known.truth = truth_object != Py_None;
    known.same_truth = known.same_truth && known.truth && known.same;
    if (bytes_of(prediction_object, &prediction, c->size, "prediction") < 0)
        return NULL;
    if (known.truth && bytes_of(truth_object, &truth, c->size, "truth") < 0) {
        PyBuffer_Release(&prediction);
        return NULL;
    }
    memset(total, 0, sizeof total);
    Py_BEGIN_ALLOW_THREADS
    count(c, known.truth ? truth.buf : NULL, prediction.buf, known, total);
    sort_touched(c);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&prediction);
    if (known.truth)
        PyBuffer_Release(&truth);
    PyObject *pairs = drain(c);
    if (pairs == NULL)
        return NULL;
    const size_t used = CHANGES + (known.truth ? PER_WINDOW * c->windows : 0);
    return Py_BuildValue("(Ny#)", pairs, (const char *)total, (Py_ssize_t)(used * sizeof *total));
}

/* --- run-length form of a map ---------------------------------------------------------------- */

PyDoc_STRVAR(runs_doc,
             "runs(map, limit) -> (ends, values) or None\n\n"
             "A uint8 map as runs: uint32 index of each run's last pixel and its value; None for more than\n"
             "`limit` runs.");

static PyObject *runs(PyObject *module, PyObject *args)
{
    Py_buffer map;
    Py_ssize_t limit;
    (void)module;
    if (!PyArg_ParseTuple(args, "y*n", &map, &limit))
        return NULL;
    const uint8_t *p = map.buf;
    const size_t size = (size_t)map.len, most = limit < 0 ? 0 : (size_t)limit;
    uint32_t *ends = malloc((most + 1) * sizeof *ends);
    uint8_t *values = malloc(most + 1);
    PyObject *result = NULL;
    size_t number = 0;
    if (ends == NULL || values == NULL || size < 1 || size > UINT32_MAX) {
        PyErr_NoMemory();
        goto done;
    }
    for (size_t i = 1; i < size && number <= most;) {
        i += flat(p, p, i, size);
#ifdef LOWEST
        if (i + 8 <= size) {
            for (uint64_t cuts = cut_mask(p, p, i); cuts && number <= most; cuts &= cuts - 1) {
                const size_t at = i + LOWEST(cuts) / 8 - 1;
                ends[number] = (uint32_t)at;
                values[number++] = p[at];
            }
            i += 8;
            continue;
        }
#endif
        const size_t stop = i + 8 < size ? i + 8 : size;
        for (; i < stop && number < most + 1; i++)
            if (p[i] != p[i - 1]) {
                ends[number] = (uint32_t)(i - 1);
                values[number++] = p[i - 1];
            }
    }
    if (number >= most) {
        result = Py_NewRef(Py_None);
    } else {
        ends[number] = (uint32_t)(size - 1);
        values[number++] = p[size - 1];
        result = Py_BuildValue("(y#y#)", (const char *)ends, (Py_ssize_t)(number * sizeof *ends),
                               (const char *)values, (Py_ssize_t)number);
    }
done:
    free(ends);
    free(values);
    PyBuffer_Release(&map);
    return result;
}

static PyMethodDef counter_methods[] = {{"count", counter_count, METH_VARARGS, count_doc}, {NULL, NULL, 0, NULL}};

static PyType_Slot counter_slots[] = {
    {Py_tp_new, counter_new},
    {Py_tp_dealloc, counter_dealloc},
    {Py_tp_methods, counter_methods},
    {Py_tp_doc, "Counts the frames of one video of one size; see ovbench/metrics/native.py."},
    {0, NULL},
};

static PyType_Spec counter_spec = {"ovbench.metrics._count.Counter", sizeof(Counter), 0, Py_TPFLAGS_DEFAULT,
                                   counter_slots};

static PyMethodDef methods[] = {{"runs", runs, METH_VARARGS, runs_doc}, {NULL, NULL, 0, NULL}};

static int execute(PyObject *module)
{
    PyObject *type = PyType_FromSpec(&counter_spec);
    if (type == NULL)
        return -1;
    const int failed = PyModule_AddObjectRef(module, "Counter", type);
    Py_DECREF(type);
    if (failed < 0)
        return -1;
    return PyModule_AddIntConstant(module, "MAX_WINDOWS", MAX_WINDOWS);
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, execute}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_count", "Counting frames, compiled.", 0, methods, slots, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__count(void) { return PyModuleDef_Init(&definition); }
