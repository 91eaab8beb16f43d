package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// callWithin ends a call to an API server that hangs, so that the writers are free
// again soon after it goes on.
const callWithin = 5 * time.Second

// write tells the API server what the nodes owe it, one pod at a time.
func (f *fleet) write(ctx context.Context) {
	for {
		uid, shutdown := f.queue.Get()
		if shutdown {
			return
		}
		more, err := f.perform(ctx, uid)
		f.queue.Done(uid)
		switch {
		case err != nil:
			f.queue.AddRateLimited(uid) // until it has arrived, or the node is dead
		case more:
			f.queue.Add(uid)
		default:
			f.queue.Forget(uid)
		}
	}
}

// perform does one duty of a pod's node and says whether another may follow.
func (f *fleet) perform(ctx context.Context, uid types.UID) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	f.mu.Lock()
	p := f.pods[uid]
	what, status := p.owes(), p.status()
	p.abort = cancel
	f.mu.Unlock()
	if what == nothing {
		return false, nil
	}
	if what == remove {
		err = f.deletePod(ctx, p)
	} else {
		err = f.patchStatus(ctx, p, status)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case apierrors.IsNotFound(err):
		p.gone = true
		return false, nil
	case err != nil:
		// A conflict too: either somebody else wrote at the same time, or another pod
		// has the name now, and then the watch is about to say that this one is gone.
		return false, err
	case what == remove:
		p.gone = true
	case what == reportEnd:
		p.endReported = true
	case what == reportStart:
		p.startReported = true
		if !p.up.IsZero() {
			p.record.ReadyAt = time.Now()
			f.changed(p)
		}
	}
	return true, nil
}

// deletePod is the kubelet's last word on a pod: only this removes it from the API.
func (f *fleet) deletePod(ctx context.Context, p *pod) error {
	return f.client.CoreV1().Pods(p.record.Namespace).Delete(ctx, p.record.Name, metav1.DeleteOptions{
		GracePeriodSeconds: new(int64), Preconditions: metav1.NewUIDPreconditions(string(p.record.UID)),
	})
}

// patchStatus merges a status into the pod's, so that conditions of others
// (DisruptionTarget, PodScheduled) stay. The UID in the patch is a precondition.
func (f *fleet) patchStatus(ctx context.Context, p *pod, status corev1.PodStatus) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": p.record.UID}, "status": status})
	if err != nil {
		return fmt.Errorf("encoding status of pod %q: %w", p.record.Name, err)
	}
	_, err = f.client.CoreV1().Pods(p.record.Namespace).
		Patch(ctx, p.record.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}
