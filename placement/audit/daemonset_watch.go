package audit

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/placement"
)

const (
	// daemonSetPeriod is the time between two looks at the DaemonSets. A cluster has
	// tens of them, which seldom change: to list them now and then costs less than a
	// watch on every replica, of which only the leader would make use.
	daemonSetPeriod = time.Minute
	// daemonSetTimeout bounds a look: findings wait meanwhile.
	daemonSetTimeout = 10 * time.Second
	// repeatAfter is how long the same is not said again of a DaemonSet. An API server
	// keeps an Event for an hour, unless it is told otherwise: as long as the template
	// is as it is, there is one to be found.
	repeatAfter = time.Hour
)

// daemonSetWatch is what one leader knows of the DaemonSets.
type daemonSetWatch struct {
	*Runner
	next time.Time               // when to look again
	told map[types.UID]time.Time // when an Event was written
}

// look tells of the DaemonSets that ask for spot, once a period.
func (w *daemonSetWatch) look(ctx context.Context) {
	now := w.now()
	if now.Before(w.next) {
		return
	}
	w.next = now.Add(daemonSetPeriod)
	found, err := w.find(ctx)
	if err != nil {
		if ctx.Err() == nil {
			w.Log.WarnContext(ctx, "Missed a look at the DaemonSets", "err", err)
		}
		return
	}
	w.Metrics.spotDaemonSets.Set(float64(len(found)))
	for _, spot := range w.news(found, now) {
		// The recorder's scheme need not know DaemonSets if they say what they are, which
		// what is listed does not.
		spot.DaemonSet.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind("DaemonSet"))
		w.Events.Eventf(spot.DaemonSet, nil, corev1.EventTypeWarning, string(placement.Contradiction), "Audit", "%s", spot.Message())
	}
}

// news returns those of which nothing was said lately, for something to be said now.
func (w *daemonSetWatch) news(found []SpotDaemonSet, now time.Time) []SpotDaemonSet {
	var news []SpotDaemonSet
	told := make(map[types.UID]time.Time, len(found))
	for _, spot := range found {
		uid := spot.DaemonSet.UID
		last, before := w.told[uid]
		if !before || now.Sub(last) >= repeatAfter {
			news, last = append(news, spot), now
		}
		told[uid] = last
	}
	w.told = told
	return news
}

func (w *daemonSetWatch) find(ctx context.Context) ([]SpotDaemonSet, error) {
	ctx, cancel := context.WithTimeout(ctx, daemonSetTimeout)
	defer cancel()
	// From the API server's memory: what is a moment old is as good.
	list, err := w.Client.AppsV1().DaemonSets(metav1.NamespaceAll).List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return nil, fmt.Errorf("listing the DaemonSets: %w", err)
	}
	view, err := w.Cluster.View(ctx)
	if err != nil {
		return nil, err
	}
	return SpotDaemonSets(view, list.Items, w.Rules)
}
