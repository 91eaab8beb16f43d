// Package interruptions counts what befalls interrupted nodes a second time, where the
// count outlives them. An agent counts more, and sooner; but its series end with its
// node, perhaps before a Prometheus has looked again.
//
// There are two witnesses. An agent writes what it is about to its Node, in the
// annotation [drain.StateAnnotation], and it tells what became of the drain by Events.
// [Memory] is the whole of the judgement, and pure: a look at the nodes or an Event
// goes in, and what has become certain comes out, each thing once. [Counter] is what
// looks and listens.
//
// An interruption counts when a node is first seen to carry it; one that is only told
// of by an Event counts, too, for the annotation may have been refused. How a drain
// ended its Event says. Where none comes, although the deadline has passed, or the
// node has gone, or no longer carries the interruption, the drain counts as
// [Unreported]: its agent or its Event went under with the machine, and pods may have.
// What became of pods only their Events say.
//
// An advice is no interruption: nobody knows whether the machine ends. It counts apart,
// when a node is first seen to carry it, and so do the pods that move on it. When a real
// notice takes it over, that counts as the interruption that it is.
//
// Drills never count: they stand as such in the annotation, and their Events have
// reasons of their own.
//
// One replica counts at a time, the leader, and a term begins with nothing counted:
//
//   - Events count that the API server has taken since, by their resourceVersion; no
//     clock is compared with another. Those that a node already under an interruption
//     has from before are read, so that a drain that had ended then counts no more.
//   - Interruptions that are under way count no more as interruptions; how they end
//     does.
//   - What happens while nobody leads is lost: some two seconds when a leader hands
//     over, fifteen when it dies. A leader that only lost the API server for a while,
//     and leads again before anybody else has, makes up for what it has missed.
//
// What this cannot know:
//
//   - Pods whose Events were not written. An agent writes all of them when its drain is
//     over, has two seconds for that, and tries none again. A machine that ends sooner
//     than it was said to leaves its drain unreported and its pods uncounted.
//   - Whether a pod that was evicted got away in time: agents count as Lost, too, what
//     they have told to leave and was there at the end.
//   - Whose word an Event is. The chart's admission policy holds agents to their own
//     node, but whoever may write Events in a namespace may write of its pods what they
//     like.
//   - Two interruptions by the same notice on the same boot, when the second begins
//     while the API server still has the Events of the first: they are the same Events.
//
// Kubernetes' own recorder aggregates Events that are alike into one with a count. The
// agent does not use it; a count that rises is taken in all the same.
package interruptions
