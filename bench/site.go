package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/placementrun"
)

// site is where pods are created and placed: an installation of placement with its
// policies and nodes, and a namespace for the pods. The scenarios use it one after the
// other, since a cluster has room for one.
type site struct {
	stage        *stage
	binary, dir  string
	installation *placementrun.Installation
	client       kubernetes.Interface
	pod          *corev1.Pod // as its author writes it
	nodes        []*lab.Node
	started      int // replicas so far
}

// openSite returns the site, and makes it at the first call.
func (b *bench) openSite(ctx context.Context) (*site, error) {
	if b.site != nil {
		return b.site, nil
	}
	s, err := b.newSite(ctx)
	if err != nil {
		return nil, errors.Join(err, s.close(ctx))
	}
	b.site = s
	return s, nil
}

// newSite makes a site. It returns what it has made, even when it fails.
func (b *bench) newSite(ctx context.Context) (*site, error) {
	s := &site{stage: &stage{lab: b.lab, namespace: "placed"}, binary: b.placer, dir: b.dir}
	config := b.lab.Config()
	// As the controllers do that create a cluster's pods.
	config.ContentType = runtime.ContentTypeProtobuf
	var err error
	if s.client, err = kubernetes.NewForConfig(config); err != nil {
		return s, fmt.Errorf("creating a client for pods: %w", err)
	}
	if s.pod, err = readPod(); err != nil {
		return s, err
	}
	if b.large {
		s.pod = enlarged(s.pod)
	}
	if err := s.stage.createNamespace(ctx); err != nil {
		return s, err
	}
	for name, labels := range map[string]map[string]string{
		"placed-spot-0": spot, "placed-spot-1": spot, "placed-spot-2": spot, "placed-steady-0": nil, "placed-steady-1": nil,
	} {
		node, err := b.lab.AddNode(ctx, lab.NodeSpec{Name: name, Labels: labels})
		if err != nil {
			return s, err
		}
		s.nodes = append(s.nodes, node)
	}
	s.installation, err = placementrun.Install(ctx, b.lab, placementrun.InstallOptions{Policies: strings.Join(manyPolicies(), "---")})
	return s, err
}

var spot = map[string]string{"karpenter.sh/capacity-type": "spot"}

// closeSite takes the site away, if there is one.
func (b *bench) closeSite(ctx context.Context) error {
	if b.site == nil {
		return nil
	}
	return b.site.close(ctx)
}

// close takes away what newSite made, but for what nobody acts on any more: CRD, policies
// and accounts go with the lab.
func (s *site) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), clearWithin)
	defer cancel()
	errs := []error{s.stage.removeNamespace(ctx)}
	for _, node := range s.nodes {
		errs = append(errs, node.Remove(ctx))
	}
	if s.installation != nil {
		errs = append(errs, s.installation.Front.Close())
	}
	return errors.Join(errs...)
}

// start starts a replica of the placement program and returns when it is ready. config
// is laid over its file. It acts as the administrator: nothing that is measured depends
// on who it is, and each mode has rights of its own.
func (s *site) start(ctx context.Context, config map[string]any) (*placementrun.Replica, error) {
	s.started++
	r, err := s.installation.Start(ctx, placementrun.Options{
		Binary: s.binary, Dir: s.dir, Instance: fmt.Sprintf("bench-%d", s.started), Kubeconfig: s.stage.lab.Kubeconfig(), Config: config,
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := r.Ready(ctx); err != nil {
		return nil, errors.Join(err, r.Kill())
	}
	return r, nil
}

// stop ends a replica as a kubelet does.
func (s *site) stop(ctx context.Context, r *placementrun.Replica) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	err := r.Terminate()
	code := 0
	if err == nil {
		code, err = r.Wait(ctx)
	}
	if err == nil && code != 0 {
		err = fmt.Errorf("ending replica %q: exit code %d", r.Instance(), code)
	}
	return errors.Join(err, r.Kill())
}

// withdraw takes everything away that makes an API server place pods.
func (s *site) withdraw(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	admission := s.client.AdmissionregistrationV1()
	var errs []error
	for what, remove := range map[string]func(context.Context, string, metav1.DeleteOptions) error{
		"webhook configuration":    admission.MutatingWebhookConfigurations().Delete,
		"admission policy":         admission.MutatingAdmissionPolicies().Delete,
		"admission policy binding": admission.MutatingAdmissionPolicyBindings().Delete,
	} {
		// Both modes call what they keep alike.
		const name = placementrun.Configuration
		if err := remove(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("deleting %s %q: %w", what, name, err))
		}
	}
	return errors.Join(errs...)
}

// creator returns who creates the site's pods, and wants each of them to fit.
func (s *site) creator(fits func(created, written *corev1.Pod) bool) creator {
	return creator{pods: s.client.CoreV1().Pods(s.stage.namespace), written: s.pod, fits: fits}
}

// waitInForce returns when pods come to be what they should, by dry runs.
func (s *site) waitInForce(ctx context.Context, fits func(created, written *corev1.Pod) bool) error {
	c := s.creator(fits)
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		created, err := c.pods.Create(ctx, c.written, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err == nil && c.fits(created, c.written), err
	})
	if err != nil {
		return fmt.Errorf("waiting for pods to be placed as they should: %w", err)
	}
	return nil
}

// clearPods returns when no pod is left.
func (s *site) clearPods(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	pods := s.client.CoreV1().Pods(s.stage.namespace)
	err := pods.DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}, metav1.ListOptions{})
	if err == nil {
		err = s.stage.lab.WaitPods(ctx, s.stage.namespace, "", func(left []corev1.Pod) bool { return len(left) == 0 })
	}
	if err != nil {
		return fmt.Errorf("deleting the pods of a block: %w", err)
	}
	return nil
}
