package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// startAttempts bounds how often Start picks new ports after a clash.
const startAttempts = 3

// Options choose a lab. The zero value is the default lab.
type Options struct {
	// Version of Kubernetes; empty means what [Binary] says of an empty version.
	Version string
	// Progress gets the build's progress, when there is something to build; nil means nobody.
	Progress io.Writer
	// Address is where the API server listens, an address of this machine. The zero
	// value means 127.0.0.1, which only this machine can reach. With another one, real
	// nodes can: the API server advertises it in the Service "kubernetes", and calls
	// kubelets at their nodes' internal addresses.
	Address netip.Addr
	// Users may enter beside the lab's own, with what the API server lets them do; see [Lab.UserConfig].
	Users []User
}

// User is who may enter the control plane: a name, and the groups that give it rights,
// as a node has "system:node:NAME" and "system:nodes".
type User struct {
	Name   string
	Groups []string
}

// Lab is a running control plane with its simulated nodes. Its methods may be
// called from several goroutines.
type Lab struct {
	dir     string
	version string
	binary  string
	address netip.Addr // zero: loopback
	access  access
	ports   map[Component]int
	peer    int // etcd's second port
	config  *rest.Config
	client  kubernetes.Interface
	janitor *janitor
	fleet   *fleet

	mu        sync.Mutex
	processes map[Component]*process
	closed    bool
}

// Start builds the control plane if need be, starts it and waits until a pod could
// be created and scheduled: about five seconds. ctx bounds the start only; the lab
// lives until Close, or until this process ends.
func Start(ctx context.Context, options Options) (*Lab, error) {
	binary, err := Binary(ctx, options.Version, options.Progress)
	if err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		l, err := start(ctx, binary, options)
		if err == nil {
			return l, nil
		}
		if !errors.Is(err, errPortTaken) || attempt == startAttempts {
			return nil, fmt.Errorf("starting the control plane: %w", err)
		}
	}
}

func start(ctx context.Context, binary string, options Options) (_ *Lab, err error) {
	dir, err := os.MkdirTemp("", "ebbtide-lab-*")
	if err != nil {
		return nil, fmt.Errorf("creating state folder: %w", err)
	}
	l := &Lab{dir: dir, binary: binary, address: options.Address, processes: map[Component]*process{}}
	if l.janitor, err = startJanitor(ctx, dir); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	ports, err := freePorts(ctx, len(Components())+1)
	if err != nil {
		return nil, err
	}
	l.ports, l.peer = map[Component]int{}, ports[len(Components())]
	for i, component := range Components() {
		l.ports[component] = ports[i]
	}
	if l.access, err = newAccess(dir, options.Address, l.ports[APIServer], options.Users); err != nil {
		return nil, err
	}
	if err := os.WriteFile(l.path("audit-policy.yaml"), []byte(auditPolicy), 0o600); err != nil {
		return nil, fmt.Errorf("writing audit policy: %w", err)
	}
	l.config = l.access.config(adminUser)
	if l.client, err = kubernetes.NewForConfig(l.config); err != nil {
		return nil, fmt.Errorf("creating client: %w", err)
	}
	if l.fleet, err = newFleet(l.access.config(nodesUser)); err != nil {
		return nil, err
	}
	if err := l.startAll(ctx); err != nil {
		return nil, err
	}
	l.fleet.run(ctx)
	return l, nil
}

// startAll starts the components in the order of their needs. The controller
// manager gives up when it finds no API server for ten seconds, so it comes after.
func (l *Lab) startAll(ctx context.Context) error {
	if err := l.launch(ctx, Etcd); err != nil {
		return err
	}
	if err := l.launch(ctx, APIServer); err != nil {
		return err
	}
	if err := l.ready(ctx, APIServer); err != nil {
		return err
	}
	for _, component := range []Component{ControllerManager, Scheduler} {
		if err := l.launch(ctx, component); err != nil {
			return err
		}
	}
	for _, component := range []Component{ControllerManager, Scheduler} {
		if err := l.ready(ctx, component); err != nil {
			return err
		}
	}
	version, err := l.client.Discovery().ServerVersion()
	if err != nil {
		return fmt.Errorf("reading the server's version: %w", err)
	}
	l.version = version.GitVersion
	l.fleet.kubeletVersion = version.GitVersion
	return l.waitServiceAccount(ctx, "default", "default")
}

// Close ends the nodes and every component and removes the state folder. It does
// not wait for anything graceful: a lab has nothing to save. A second call does nothing.
func (l *Lab) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	if l.fleet != nil {
		l.fleet.close()
	}
	var errs []error
	for _, p := range l.processes {
		errs = append(errs, p.stop(0))
	}
	l.janitor.clean()
	if _, err := os.Stat(l.dir); !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, fmt.Errorf("removing state folder %q: it is still there", l.dir))
	}
	return errors.Join(errs...)
}

// Config returns the administrator's configuration, without client-side throttling.
// It is a copy, the caller's to change.
func (l *Lab) Config() *rest.Config { return rest.CopyConfig(l.config) }

// UserConfig returns the configuration of one of [Options].Users, or nil if it is none of them.
func (l *Lab) UserConfig(name string) *rest.Config {
	if l.access.byUser[name] == "" {
		return nil
	}
	return l.access.config(name)
}

// Client returns the administrator's client.
func (l *Lab) Client() kubernetes.Interface { return l.client }

// Kubeconfig returns the path of the administrator's kubeconfig.
func (l *Lab) Kubeconfig() string { return l.access.kubeconfigPath(adminUser) }

// Dir returns the lab's state folder: logs, certificates, kubeconfigs. It vanishes with the lab.
func (l *Lab) Dir() string { return l.dir }

// Version returns the version that the API server reports, as in "v1.37.1".
func (l *Lab) Version() string { return l.version }

func (l *Lab) path(elements ...string) string {
	return filepath.Join(append([]string{l.dir}, elements...)...)
}

// poll calls done every 25 ms until it is true or ctx has ended.
func poll(ctx context.Context, done func(context.Context) (bool, error)) error {
	ticker := time.NewTicker(25 * time.Millisecond)
	defer ticker.Stop()
	for {
		if ok, err := done(ctx); ok || err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
