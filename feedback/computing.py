"""Verbs that tell who computes now, so that chat and run can share a machine."""

from datetime import timedelta

from sqlalchemy import func, select

from feedback.schema import RUN_OPEN, Message, Reply, Run, now
from feedback.sessions import Sessions

REPLY_FRESH = timedelta(seconds=10)  # a reply that is being written beats every second
RUN_FRESH = timedelta(seconds=30)  # a run beats every second too, but for while it loads, or computes one long step


class Computing(Sessions):
    """Replies being written and runs under way, by their heartbeats."""

    def replies_running(self) -> int:
        """Count the replies that are being written now, by whatever process."""
        query = select(func.count()).select_from(Message).join(Reply, Reply.message_id == Message.id)
        with self.reading() as session:
            return (
                session.scalar(query.where(Message.status == "running", Reply.heartbeat_at > now() - REPLY_FRESH)) or 0
            )

    def run_computes(self) -> bool:
        """Tell whether a run is under way now, in whatever process."""
        query = select(Run.id).where(Run.status.in_(RUN_OPEN), Run.heartbeat_at > now() - RUN_FRESH)
        with self.reading() as session:
            return session.scalar(query.limit(1)) is not None
