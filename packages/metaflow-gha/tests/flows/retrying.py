"""@retry and @catch around a step that always raises."""

from metaflow import FlowSpec, catch, current, retry, step


class RetryingFlow(FlowSpec):
    @catch(var="failure")
    @retry(times=1, minutes_between_retries=0)
    @step
    def start(self):
        print(f"attempt {current.retry_count}")
        raise ValueError("the user's own error")
        self.next(self.end)

    @step
    def end(self):
        self.caught = str(self.failure)


if __name__ == "__main__":
    RetryingFlow()
