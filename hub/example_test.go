package hub_test

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/alkimiadev/alknet-firewall/hub"
	"github.com/alkimiadev/alknet-firewall/hub/hubtest"
)

// A model is pulled once, and found without a network from then on.
func Example() {
	root, err := os.MkdirTemp("", "hub")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(root)
	commit, err := hubtest.Write(root+"/repos", "acme/tiny", "first", hubtest.Repo{}, map[string][]byte{
		"config.json": []byte("{}"), "tokenizer.json": []byte("{}"), "model.safetensors": []byte("weights"),
	})
	if err != nil {
		panic(err)
	}
	standIn, err := hubtest.Start(root+"/repos", hubtest.Options{})
	if err != nil {
		panic(err)
	}
	defer standIn.Close()

	ctx := context.Background()
	c, err := hub.New(hub.Options{CacheDir: root + "/cache", Endpoint: standIn.URL, NoToken: true})
	if err != nil {
		panic(err)
	}
	name := "acme/tiny@" + commit
	if _, err := c.Find(ctx, name); errors.Is(err, hub.ErrOffline) {
		fmt.Println("not there yet")
	}
	s, err := c.Pull(ctx, name)
	if err != nil {
		panic(err)
	}
	for _, f := range s.Files {
		fmt.Println(f.Path, f.Size)
	}
	standIn.Close()
	s, err = c.Pull(ctx, name)
	fmt.Println(s.Fetched, err)
	// Output:
	// not there yet
	// config.json 2
	// model.safetensors 7
	// tokenizer.json 2
	// 0 <nil>
}
