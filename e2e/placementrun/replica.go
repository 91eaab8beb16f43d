package placementrun

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"

	"github.com/ebbtide/ebbtide/e2e/internal/programrun"
)

const placementPackage = "github.com/ebbtide/ebbtide/cmd/ebbtide-placement"

// Race says whether this program was built with the race detector.
const Race = programrun.Race

// Options say which replica to run.
type Options struct {
	// Binary is the program; see [Build] and [Binary]. Required.
	Binary string
	// Dir is an existing folder for the replica's files. The caller removes it.
	// Required.
	Dir string
	// Instance is the replica's name, in the Lease for one. Two that run at the same
	// time have to have different ones. Required.
	Instance string
	// Kubeconfig is who the replica is; empty is the installation's own account.
	Kubeconfig string
	// Config is laid over the configuration file, in the file's own names, group by
	// group: {"webhook": map[string]any{"linger": "2s"}}.
	Config map[string]any
	// Args are more flags.
	Args []string
}

// Record is one line of a replica's log.
type Record = programrun.Record

// Replica is a running replica, or one that has ended. Its methods may be called from
// several goroutines.
type Replica struct {
	*programrun.Program
	instance, reviews string
}

// Instance returns the replica's name.
func (r *Replica) Instance() string { return r.instance }

// Reviews returns the host and port at which the replica serves reviews, for
// [Front.HandTo]; empty where no webhook places the pods.
func (r *Replica) Reviews() string { return r.reviews }

// Start starts a replica and returns when it listens, which is before it knows the
// cluster; see [programrun.Program.Ready]. Nobody is told of it: that is for the
// caller, by [Front.HandTo]. ctx bounds the start only. The caller ends the replica
// with Kill or with Terminate and Wait.
func (i *Installation) Start(ctx context.Context, options Options) (*Replica, error) {
	if options.Instance == "" {
		return nil, errors.New("checking options: Instance is empty")
	}
	config := i.config(options)
	program, err := programrun.Start(ctx, programrun.Options{
		Name: "replica", Binary: options.Binary, Dir: options.Dir, Config: config,
		Args: append([]string{"--kubeconfig", cmp.Or(options.Kubeconfig, i.kubeconfig)}, options.Args...),
	})
	if err != nil {
		return nil, err
	}
	r := &Replica{Program: program, instance: options.Instance}
	if config["mode"] == AdmissionPolicy {
		return r, nil
	}
	record, err := r.WaitRecord(ctx, func(r Record) bool { return r.Message == "Listening" && r.Text("for") == "reviews" })
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting replica %q: %w", options.Instance, err), r.Kill())
	}
	r.reviews = record.Text("address")
	return r, nil
}

// AdmissionPolicy is the mode of the program, in the file's group "mode", in which no
// webhook places the pods.
const AdmissionPolicy = "AdmissionPolicy"

// config is what the replica's file says.
func (i *Installation) config(options Options) map[string]any {
	config := map[string]any{
		"namespace": i.namespace, "instance": options.Instance, "listen": "127.0.0.1:0",
		"webhook":     map[string]any{"listen": "127.0.0.1:0", "url": i.Front.URL(), "configuration": Configuration},
		"certificate": map[string]any{"secret": Secret},
	}
	for name, over := range options.Config {
		group, groups := config[name].(map[string]any)
		fields, fielded := over.(map[string]any)
		if groups && fielded {
			group = maps.Clone(group)
			maps.Copy(group, fields)
			config[name] = group
			continue
		}
		config[name] = over
	}
	return config
}

// Run starts a replica for a test and kills it at the test's end, if it still runs
// then. Binary and Dir may be empty: the test's own build (see [Binary]) and a folder of
// the test's. A data race in the replica fails the test, and a test that fails shows
// what the replica wrote.
func (i *Installation) Run(t testing.TB, options Options) *Replica {
	t.Helper()
	if options.Binary == "" {
		options.Binary = Binary(t, Race)
	}
	if options.Dir == "" {
		options.Dir = t.TempDir()
	}
	r, err := i.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	programrun.Guard(t, r.Program, fmt.Sprintf("replica %q", options.Instance))
	return r
}

// Build builds the program into dir and returns its path, with Go's race detector if
// asked, which needs a C compiler. The working folder has to be inside the module, as
// it is in every test.
func Build(ctx context.Context, dir string, race bool) (string, error) {
	return programrun.Build(ctx, dir, placementPackage, race)
}

// Suite wraps a package's tests so that what [Binary] built is removed after them. One
// Suite is enough for this package and agentrun.
func Suite(m interface{ Run() int }) interface{ Run() int } { return programrun.Suite(m) }

// Binary returns the program and builds it at the first call in a test binary. With
// [Race] it has the race detector if the test has. The package's TestMain has to use
// [Suite].
func Binary(t testing.TB, race bool) string {
	t.Helper()
	return programrun.Binary(t, placementPackage, race)
}
