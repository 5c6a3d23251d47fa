package hub

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// readOnly makes the cache read-only until the function it returns is called: for
// root, whom modes do not bind, by a mount; nil if that cannot be done here.
func (w *world) readOnly() func() {
	w.t.Helper()
	if os.Geteuid() != 0 {
		chmod := func(mode os.FileMode) {
			filepath.WalkDir(w.cache, func(p string, d os.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					os.Chmod(p, mode)
				}
				return err
			})
		}
		chmod(0o555)
		undo := func() { chmod(0o777) }
		w.t.Cleanup(undo)
		return undo
	}
	if err := syscall.Mount(w.cache, w.cache, "", syscall.MS_BIND, ""); err != nil {
		w.t.Logf("bind mount: %v", err)
		return nil
	}
	undo := func() { syscall.Unmount(w.cache, syscall.MNT_DETACH) }
	w.t.Cleanup(undo)
	if err := syscall.Mount("", w.cache, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		undo()
		w.t.Logf("read-only bind mount: %v", err)
		return nil
	}
	return undo
}

// smallDisk mounts a file system of that size in the cache's place.
func (w *world) smallDisk(size int) func() {
	w.t.Helper()
	return w.mount("tmpfs", "size="+itoa(size))
}

func (w *world) mount(kind, options string) func() {
	w.t.Helper()
	if err := os.MkdirAll(w.cache, 0o777); err != nil {
		w.t.Fatal(err)
	}
	if err := syscall.Mount("none", w.cache, kind, 0, options); err != nil {
		w.t.Logf("mount %s: %v", kind, err)
		return nil
	}
	undo := func() { syscall.Unmount(w.cache, syscall.MNT_DETACH) }
	w.t.Cleanup(undo)
	return undo
}

// remount changes the size of a tmpfs.
func remount(dir string, size int) error {
	return syscall.Mount("none", dir, "tmpfs", syscall.MS_REMOUNT, "size="+itoa(size))
}

// vfat puts the cache on a file system without links.
func (w *world) vfat() func() {
	w.t.Helper()
	image := filepath.Join(w.t.TempDir(), "vfat")
	if f, err := os.Create(image); err != nil || f.Truncate(16<<20) != nil || f.Close() != nil {
		return nil
	}
	if out, err := exec.Command("mkfs.vfat", image).CombinedOutput(); err != nil {
		w.t.Logf("mkfs.vfat: %v %s", err, out)
		return nil
	}
	if err := os.MkdirAll(w.cache, 0o777); err != nil {
		w.t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-o", "loop", image, w.cache).CombinedOutput(); err != nil {
		w.t.Logf("mount: %v %s", err, out)
		return nil
	}
	undo := func() { syscall.Unmount(w.cache, syscall.MNT_DETACH) }
	w.t.Cleanup(undo)
	return undo
}
