package kernel

import (
	"syscall"
	"testing"
	"unsafe"
)

// beforeGuard returns n values that end where an unreadable page begins, or, if
// after, that begin where one ends.
func beforeGuard(t *testing.T, n int, after bool) []float32 {
	page := syscall.Getpagesize()
	size := (4*n + page - 1) / page * page
	mem, err := syscall.Mmap(-1, 0, size+2*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Munmap(mem) })
	for _, guard := range [][]byte{mem[:page], mem[len(mem)-page:]} {
		if err := syscall.Mprotect(guard, syscall.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	if n == 0 {
		return nil
	}
	begin := page + size - 4*n
	if after {
		begin = page
	}
	return unsafe.Slice((*float32)(unsafe.Pointer(&mem[begin])), n)
}

// TestGuardPages runs every operation with its buffers against unreadable pages: a
// read beyond them faults.
func TestGuardPages(t *testing.T) {
	eachImplementation(t, func(t *testing.T) {
		for _, after := range []bool{false, true} {
			for _, o := range operations {
				for n := range 100 {
					var b [][]float32
					for _, l := range o.lens(n) {
						b = append(b, beforeGuard(t, l, after))
					}
					o.run(b)
				}
			}
			for _, kind := range kinds {
				for rows := 1; rows < 110; rows += 1 + rows/16*12 {
					for _, s := range []struct{ k, n int }{{5, 32}, {3, 3}, {8, 70}, {1, 64}} {
						p := newProduct(rows, s.k, s.n, rows, s.k, s.n, 0)
						m := p.pack(kind)
						a, c := beforeGuard(t, len(p.a), after), beforeGuard(t, len(p.c), after)
						copy(a, p.a)
						// The panels, too.
						if kind == "f32" {
							x := beforeGuard(t, len(m.f32), after)
							copy(x, m.f32)
							m.f32 = x
						} else {
							x := beforeGuard(t, len(m.bf16), after)
							y := unsafe.Slice((*uint32)(unsafe.Pointer(&x[0])), len(x))
							copy(y, m.bf16)
							m.bf16 = y
						}
						m.Mul(c, a, rows)
						m.MulAdd(c, a, rows)
					}
				}
			}
		}
	})
}

// TestInt8GuardPages is TestGuardPages for products in eight bits: rows as they come, the
// result, and the packed weights lie against unreadable pages.
func TestInt8GuardPages(t *testing.T) {
	bytesAt := func(n int, after bool) []byte {
		x := beforeGuard(t, (n+3)/4, after)
		return unsafe.Slice((*byte)(unsafe.Pointer(&x[0])), n)
	}
	eachImplementation(t, func(t *testing.T) {
		for _, after := range []bool{false, true} {
			for i, s := range []struct{ k, n, rows int }{{1, 1, 1}, {5, 32, 3}, {3, 3, 14}, {64, 70, 15}, {130, 64, 29}, {31, 33, 5}, {300, 48, 2}} {
				for e := range epilogue(3) {
					c := newInt8Case(t, i, s.k, s.n, s.rows, e == gateProduct, true)
					panels := bytesAt(len(c.m.panels), after)
					copy(panels, c.m.panels)
					c.m.panels = panels
					x := beforeGuard(t, s.k, after)
					for l := range s.rows {
						copy(x, c.a[l*s.k:])
						c.q.Set(l, x)
					}
					dst := beforeGuard(t, s.rows*s.n, after)
					c.m.mul(dst, s.n, &c.q, 0, s.n, e)
				}
			}
		}
	})
}
