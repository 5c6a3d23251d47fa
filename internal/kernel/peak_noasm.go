//go:build !amd64 || purego

package kernel

func peakF32(turns int) (sum float32, products int) {
	if active != generic {
		return 0, 0
	}
	return peakGeneric[float32](turns), 1
}

func peakInt8(turns int) (sum int32, products int) {
	if active != generic {
		return 0, 0
	}
	return peakGeneric[int32](turns), 1
}
