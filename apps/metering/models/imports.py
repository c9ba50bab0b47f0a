from django.db import models


class ImportStatus(models.TextChoices):
    RUNNING = "running", "Running"
    STOPPED = "stopped", "Stopped"
    DONE = "done", "Done"


class ImportJob(models.Model):
    """One file on its way in: how far it is read, and what became of its rows."""

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    path = models.CharField(max_length=1000)
    fingerprint = models.CharField(max_length=64, help_text="Hash of the file's content and of the mapping.")
    status = models.CharField(max_length=7, choices=ImportStatus, default=ImportStatus.RUNNING)
    lines_read = models.BigIntegerField(default=0)
    accepted = models.BigIntegerField(default=0)
    rejected = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "fingerprint"], name="importjob_once"),
        ]

    def __str__(self) -> str:
        return self.path
