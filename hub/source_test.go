package hub_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/alkimiadev/alknet-firewall/hub"
	"github.com/alkimiadev/alknet-firewall/hub/hubtest"
)

// TestSourceProgress: whoever holds a source can see, from another goroutine, how
// far its download is.
func TestSourceProgress(t *testing.T) {
	const commit = "1111111111111111111111111111111111111111"
	root := t.TempDir()
	weights := bytes.Repeat([]byte("weights "), 1<<15) // 256 KiB
	_, err := hubtest.Write(root, "acme/slow", commit, hubtest.Repo{LFS: []string{"*.safetensors"}}, map[string][]byte{
		"config.json": []byte("{}"), "tokenizer.json": []byte("{}"), "model.safetensors": weights,
	})
	if err != nil {
		t.Fatal(err)
	}
	srv, err := hubtest.Start(root, hubtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	srv.Fault(hubtest.Fault{Where: "cdn", Kind: "trickle", Rate: 512 << 10})
	c, err := hub.New(hub.Options{CacheDir: t.TempDir(), Endpoint: srv.URL, NoToken: true})
	if err != nil {
		t.Fatal(err)
	}
	src := c.Model("acme/slow@" + commit)
	if done, total := src.Progress(); done != 0 || total != 0 {
		t.Errorf("before its use: %d of %d", done, total)
	}
	ended := make(chan error)
	go func() {
		_, err := src.Dir(context.Background())
		ended <- err
	}()
	size, halfway := int64(len(weights)+4), false
	for wait := time.NewTicker(5 * time.Millisecond); ; {
		select {
		case <-wait.C:
			done, total := src.Progress()
			halfway = halfway || done > 4 && done < size && total == size
			continue
		case err := <-ended:
			if err != nil {
				t.Fatal(err)
			}
		}
		break
	}
	if done, total := src.Progress(); !halfway || done != size || total != size {
		t.Errorf("at the end: %d of %d bytes; seen in between: %v", done, total, halfway)
	}
}
