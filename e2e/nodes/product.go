//go:build linux

package nodes

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/ebbtide/ebbtide/e2e/image"
)

// Product is a build of Ebbtide's own image: from the repository's Dockerfile, as a
// release is built, but by this machine's Go.
type Product struct {
	// Name is what pods call it, with registry and tag: "ebbtide.test/ebbtide:e2e".
	Name string
	// Version is what its programs say to --version.
	Version string
}

// build writes the image to a folder. It takes seconds when the programs are compiled.
// The build's own folder is not in the stage: Go's caches are mounted in it, and the stage
// is removed by force when a run is killed.
func (p Product) build(ctx context.Context, folder string, progress io.Writer) error {
	_, _ = fmt.Fprintf(progress, "nodes: building image %s\n", p.Name)
	root, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	return image.Build(ctx, image.Options{
		Source: root, Name: p.Name, Version: p.Version, Revision: "unknown", Created: time.Unix(0, 0),
		Builder: image.LocalToolchain, Archive: filepath.Join(folder, archiveName(p.Name)), Format: image.Docker,
	})
}
