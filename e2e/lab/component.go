package lab

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"
)

// Component is a process of the control plane, by the name of its program.
type Component string

// The components of a control plane.
const (
	Etcd              Component = "etcd"
	APIServer         Component = "kube-apiserver"
	ControllerManager Component = "kube-controller-manager"
	Scheduler         Component = "kube-scheduler"
)

// Components returns all components in the order in which they start.
func Components() []Component {
	return []Component{Etcd, APIServer, ControllerManager, Scheduler}
}

const (
	// readyWithin bounds the start of one component: three seconds on an idle
	// machine of two cores, much more when several test binaries share it.
	readyWithin = 90 * time.Second
	// stopGrace is what Stop leaves a component before it kills it. An API server
	// that has lost its etcd would take a minute.
	stopGrace = 5 * time.Second
)

var (
	errPortTaken  = errors.New("a port was taken meanwhile")
	errNotRunning = errors.New("not running")
	errClosed     = errors.New("the lab is closed")
)

// Stop ends a component with SIGTERM, and with SIGKILL five seconds later.
func (l *Lab) Stop(c Component) error { return l.stop(c, stopGrace) }

// Kill ends a component with SIGKILL: a crash.
func (l *Lab) Kill(c Component) error { return l.stop(c, 0) }

func (l *Lab) stop(c Component, grace time.Duration) error {
	p, err := l.process(c)
	if err != nil {
		return fmt.Errorf("stopping %q: %w", c, err)
	}
	// The janitor forgets it in case it was paused: its id may soon be another's.
	if err := errors.Join(p.stop(grace), l.janitor.resumed(p)); err != nil {
		return fmt.Errorf("stopping %q: %w", c, err)
	}
	return nil
}

// Pause stops a component's clock (SIGSTOP): its connections stay open and nobody
// answers on them, as with a machine that hangs.
func (l *Lab) Pause(c Component) error {
	p, err := l.process(c)
	if err == nil {
		err = errors.Join(l.janitor.paused(p), p.pause())
	}
	if err != nil {
		return fmt.Errorf("pausing %q: %w", c, err)
	}
	return nil
}

// Resume lets a paused component go on (SIGCONT).
func (l *Lab) Resume(c Component) error {
	p, err := l.process(c)
	if err == nil {
		err = errors.Join(p.resume(), l.janitor.resumed(p))
	}
	if err != nil {
		return fmt.Errorf("resuming %q: %w", c, err)
	}
	return nil
}

// Restart starts a component on the ports and the data that it had, and waits until
// it is ready. A component that still runs is killed first.
func (l *Lab) Restart(ctx context.Context, c Component) error {
	if err := l.Kill(c); err != nil && !errors.Is(err, errNotRunning) {
		return err
	}
	err := l.launch(ctx, c)
	if err == nil {
		err = l.ready(ctx, c)
	}
	if err != nil {
		return fmt.Errorf("restarting %q: %w", c, err)
	}
	return nil
}

// PID returns the process id of a running component, or 0.
func (l *Lab) PID(c Component) int {
	p, err := l.process(c)
	if err != nil {
		return 0
	}
	return p.pid()
}

func (l *Lab) process(c Component) (*process, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.processes[c]
	if p == nil || !p.running() {
		return nil, errNotRunning
	}
	return p, nil
}

func (l *Lab) launch(ctx context.Context, c Component) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errClosed
	}
	args := append([]string{string(c)}, l.flags(c)...)
	p, err := startProcess(ctx, l.dir, l.logPath(c), l.binary, args...)
	if err != nil {
		return fmt.Errorf("starting %q: %w", c, err)
	}
	l.processes[c] = p
	return nil
}

func (l *Lab) logPath(c Component) string { return l.path(string(c) + ".log") }

// ready waits until a component says that it is, and says why it is not otherwise.
func (l *Lab) ready(ctx context.Context, c Component) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyWithin, fmt.Errorf("not ready after %s", readyWithin))
	defer cancel()
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: l.access.roots, MinVersion: tls.VersionTLS12},
	}}
	p, err := l.process(c)
	if err == nil {
		err = poll(ctx, func(ctx context.Context) (bool, error) {
			if !p.running() {
				return false, errNotRunning
			}
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, l.healthURL(c), http.NoBody)
			if err != nil {
				return false, err
			}
			response, err := client.Do(request)
			if err != nil {
				return false, nil //nolint:nilerr // Not reachable yet is what the poll waits out.
			}
			return response.StatusCode == http.StatusOK, response.Body.Close()
		})
	}
	if err == nil {
		return nil
	}
	log, _ := os.ReadFile(l.logPath(c)) // no log is no line
	if bytes.Contains(log, []byte("address already in use")) {
		err = errPortTaken
	}
	return fmt.Errorf("waiting for %q: %w; its last line: %s", c, err, lastLine(log))
}

func (l *Lab) healthURL(c Component) string {
	at := loopback(l.ports[c])
	switch c {
	case Etcd:
		return "http://" + at + "/health"
	case APIServer:
		return l.access.server + "/readyz"
	case ControllerManager, Scheduler:
		return "https://" + at + "/healthz"
	}
	return ""
}

func (l *Lab) flags(c Component) []string {
	switch c {
	case Etcd:
		return l.etcdFlags()
	case APIServer:
		return l.apiServerFlags()
	case ControllerManager:
		return append(l.clientFlags(controllersUser, c),
			"--service-account-private-key-file="+l.access.signingKey,
			"--root-ca-file="+l.access.servingCert,
			// Each controller as its own user, as on a real cluster: admission sees who asks.
			"--use-service-account-credentials",
			// The default of 20 requests a second delays a replacement pod by seconds when many are due.
			"--kube-api-qps=1000", "--kube-api-burst=2000",
		)
	case Scheduler:
		return append(l.clientFlags(schedulerUser, c), "--kube-api-qps=1000", "--kube-api-burst=2000")
	}
	return nil
}

func (l *Lab) etcdFlags() []string {
	client, peer := "http://"+loopback(l.ports[Etcd]), "http://"+loopback(l.peer)
	return []string{
		"--data-dir=" + l.path("etcd"),
		"--unsafe-no-fsync", // the state is thrown away; a crash of etcd alone loses nothing that was written
		"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=default=" + peer,
	}
}

func (l *Lab) apiServerFlags() []string {
	return append(l.addressFlags(),
		"--etcd-servers=http://"+loopback(l.ports[Etcd]),
		"--secure-port="+strconv.Itoa(l.ports[APIServer]),
		"--tls-cert-file="+l.access.servingCert, "--tls-private-key-file="+l.access.servingKey,
		"--token-auth-file="+l.access.tokens,
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+l.access.signingKey,
		"--service-account-signing-key-file="+l.access.signingKey,
		"--service-cluster-ip-range="+serviceRange,
		// Webhooks that name a Service are called at the pod's own address: there is no kube-proxy.
		"--enable-aggregator-routing=true",
		"--audit-policy-file="+l.path("audit-policy.yaml"),
		"--audit-log-path="+l.path("audit.log"),
		// Requests are in the file before they are answered, and the file is never rotated away.
		"--audit-log-mode=blocking", "--audit-log-maxsize=100000",
	)
}

// addressFlags say where the API server is to be found, and where it finds kubelets.
func (l *Lab) addressFlags() []string {
	if !l.address.IsValid() {
		return []string{
			"--bind-address=127.0.0.1", "--advertise-address=127.0.0.1",
			// On loopback the API server refuses to advertise itself in the "kubernetes" Service.
			"--endpoint-reconciler-type=none",
		}
	}
	return []string{
		"--bind-address=" + l.address.String(), "--advertise-address=" + l.address.String(),
		// No resolver knows the nodes' names, which would be asked for first.
		"--kubelet-preferred-address-types=InternalIP",
		"--allow-privileged=true",
	}
}

// clientFlags are those of a component that is a client of the API server and
// serves its own health.
func (l *Lab) clientFlags(user string, c Component) []string {
	kubeconfig := l.access.kubeconfigPath(user)
	return []string{
		"--kubeconfig=" + kubeconfig, "--authentication-kubeconfig=" + kubeconfig, "--authorization-kubeconfig=" + kubeconfig,
		"--bind-address=127.0.0.1", "--secure-port=" + strconv.Itoa(l.ports[c]),
		"--tls-cert-file=" + l.access.servingCert, "--tls-private-key-file=" + l.access.servingKey,
		// One of each, so nobody to elect; an election would add 15 s to every restart.
		"--leader-elect=false",
	}
}
