/* Undoes PNG's row filters for one byte per pixel (PNG specification, 3rd edition, section 9).
 *
 * Label maps are flat: most filtered bytes are 0. For each filter the loop therefore goes over runs of
 * zero residuals with copies or fills, and does the arithmetic of single bytes only around edges.
 *
 * Stable ABI, buffer protocol only: no NumPy headers.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define STEP 16 /* bytes looked at together */

static inline uint64_t word(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline int all_zero(const uint8_t *p) { return (word(p) | word(p + 8)) == 0; }

static inline int all_equal(const uint8_t *p, uint8_t value)
{
    const uint64_t v = UINT64_C(0x0101010101010101) * value;
    return ((word(p) ^ v) | (word(p + 8) ^ v)) == 0;
}

/* In all of these: `in` holds n filtered bytes, `up` the n bytes of the row above, `out` gets n bytes. */

static void row_sub(const uint8_t *in, uint8_t *out, Py_ssize_t n)
{
    uint8_t left = 0;
    Py_ssize_t x = 0;
    while (x < n) {
        while (x + STEP <= n && all_zero(in + x)) {
            memset(out + x, left, STEP);
            x += STEP;
        }
        const Py_ssize_t end = n - x < STEP ? n : x + STEP;
        for (; x < end; x++)
            out[x] = left = (uint8_t)(left + in[x]);
    }
}

static void row_up(const uint8_t *in, const uint8_t *up, uint8_t *out, Py_ssize_t n)
{
    for (Py_ssize_t x = 0; x < n; x++)
        out[x] = (uint8_t)(in[x] + up[x]);
}

static void row_average(const uint8_t *in, const uint8_t *up, uint8_t *out, Py_ssize_t n)
{
    unsigned left = 0;
    Py_ssize_t x = 0;
    while (x < n) {
        /* the mean of two equal values is that value */
        while (x + STEP <= n && all_zero(in + x) && all_equal(up + x, (uint8_t)left)) {
            memset(out + x, (int)left, STEP);
            x += STEP;
        }
        const Py_ssize_t end = n - x < STEP ? n : x + STEP;
        for (; x < end; x++)
            out[x] = (uint8_t)(left = (in[x] + ((left + up[x]) >> 1)) & 255u);
    }
}

static void row_paeth(const uint8_t *in, const uint8_t *up, uint8_t *out, Py_ssize_t n)
{
    int left = 0, corner = 0;
    Py_ssize_t x = 0;
    while (x < n) {
        for (; x + STEP <= n && all_zero(in + x); x += STEP) {
            if (left == corner) {
                /* predicts the byte above, and after it left and corner are equal again */
                memcpy(out + x, up + x, STEP);
                left = corner = up[x + STEP - 1];
            } else if (all_equal(up + x, (uint8_t)corner)) {
                memset(out + x, left, STEP); /* nothing changes above: predicts the byte to the left */
            } else {
                break;
            }
        }
        const Py_ssize_t end = n - x < STEP ? n : x + STEP;
        for (; x < end; x++) {
            const int above = up[x];
            int guess = above; /* right when left == corner; cheap, and true almost everywhere */
            if (left != corner) {
                const int a = abs(above - corner), b = abs(left - corner), c = abs(left + above - 2 * corner);
                if (a <= b && a <= c)
                    guess = left;
                else if (b > c)
                    guess = corner;
            }
            out[x] = (uint8_t)(left = (in[x] + guess) & 255);
            corner = above;
        }
    }
}

/* Returns -1, or the filter byte that does not exist. `up` is the row above the first. */
static int unfilter_rows(const uint8_t *in, Py_ssize_t height, Py_ssize_t width, const uint8_t *up, uint8_t *out)
{
    for (Py_ssize_t y = 0; y < height; y++, in += width + 1, up = out, out += width) {
        switch (in[0]) {
        case 0: memcpy(out, in + 1, (size_t)width); break;
        case 1: row_sub(in + 1, out, width); break;
        case 2: row_up(in + 1, up, out, width); break;
        case 3: row_average(in + 1, up, out, width); break;
        case 4: row_paeth(in + 1, up, out, width); break;
        default: return in[0];
        }
    }
    return -1;
}

static PyObject *unfilter(PyObject *module, PyObject *args)
{
    Py_buffer data = {0}, out = {0}, above = {0};
    Py_ssize_t height, stride;
    PyObject *last = Py_None, *result = NULL;
    uint8_t *zeros = NULL;
    int wrong;

    (void)module;
    if (!PyArg_ParseTuple(args, "y*nnw*|O:unfilter", &data, &height, &stride, &out, &last))
        return NULL;
    if (last != Py_None && PyObject_GetBuffer(last, &above, PyBUF_SIMPLE) < 0)
        goto done;
    if (height < 1 || stride < 2 || height > PY_SSIZE_T_MAX / stride || data.len != height * stride ||
        out.len != height * (stride - 1) || (last != Py_None && above.len != stride - 1)) {
        PyErr_SetString(PyExc_ValueError, "the buffers do not have the size of this picture");
        goto done;
    }
    if (last == Py_None && (zeros = calloc((size_t)stride, 1)) == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    Py_BEGIN_ALLOW_THREADS
    wrong = unfilter_rows(data.buf, height, stride - 1, zeros ? zeros : above.buf, out.buf);
    Py_END_ALLOW_THREADS
    if (wrong >= 0)
        PyErr_Format(PyExc_ValueError, "filter %d does not exist", wrong);
    else
        result = Py_NewRef(Py_None);
done:
    free(zeros);
    PyBuffer_Release(&data);
    PyBuffer_Release(&out);
    PyBuffer_Release(&above);
    return result;
}

PyDoc_STRVAR(unfilter_doc,
             "unfilter(data, height, stride, out, above=None, /)\n--\n\n"
             "Undo the row filters of an 8-bit picture of one byte per pixel.\n\n"
             "data: height * stride bytes, a filter byte before the stride - 1 bytes of each row;\n"
             "out: writable, contiguous, height * (stride - 1) bytes;\n"
             "above: the finished row above the first one, None at the top of the picture.\n"
             "Other threads run meanwhile.\n"
             "ValueError: other sizes, or a filter byte above 4 (out is then half-filled).");

static PyMethodDef methods[] = {
    {"unfilter", unfilter, METH_VARARGS, unfilter_doc},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_png", "Row filters of PNG, undone.", 0, methods, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__png(void);
PyMODINIT_FUNC PyInit__png(void) { return PyModuleDef_Init(&definition); }
