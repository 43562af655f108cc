import time


async def warm_up() -> None:
    time.sleep(5)
